//! The ways in besides plain TCP: TLS with both versions of HTTP, and a Unix socket.
//!
//! **Invariant:** the client's TLS is rustls with roots of its own; `tests/door.rs` at the top uses
//! curl.
//! **Next:** `slow_clients.rs`.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::harness::{Harness, PATIENCE, read_reply};
use crate::{Address, Limits, TlsFiles};

/// A root, and what it signs.
struct Authority {
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let params = authority_params();
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("is signed").der().clone();
        Self {
            root,
            issuer: Issuer::new(params, key),
        }
    }

    /// Writes a chain of two certificates below the root, and their key.
    fn write(&self, directory: &TempDir) -> TlsFiles {
        let key = KeyPair::generate().expect("a key");
        let params = authority_params();
        let between = params.signed_by(&key, &self.issuer).expect("is signed");
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let leaf = params.signed_by(&key, &issuer).expect("is signed");
        let files = TlsFiles {
            certificate: directory.path().join("chain.pem"),
            key: directory.path().join("key.pem"),
        };
        let chain = leaf.pem() + &between.pem();
        fs::write(&files.certificate, chain).expect("is written");
        fs::write(&files.key, key.serialize_pem()).expect("is written");
        files
    }

    async fn connect(&self, server: &Harness, alpn: &[&str]) -> TlsStream<TcpStream> {
        self.try_connect(server, alpn).await.expect("shakes hands")
    }

    async fn try_connect(
        &self,
        server: &Harness,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("is a root");
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(server.address).await.expect("connects");
        let name = ServerName::try_from("localhost").expect("a name");
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        connecting.await
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// A server with TLS, and the limits changed.
async fn start(files: TlsFiles, limits: Limits) -> Harness {
    Harness::start_as(|config| (config.tls, config.limits) = (Some(files), limits)).await
}

fn list(server: &Harness) -> String {
    format!(
        "GET /api/v1/app HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
         authorization: Bearer {}\r\n\r\n",
        server.token
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_with_both_versions() {
    let (directory, authority) = (tempfile::tempdir().expect("a directory"), Authority::new());
    let server = start(authority.write(&directory), Limits::default()).await;
    let exchange = async {
        for alpn in [&[][..], &["http/1.1"], &["http/1.0", "http/1.1"]] {
            let mut stream = authority.connect(&server, alpn).await;
            let chosen = stream.get_ref().1.alpn_protocol();
            assert_eq!(chosen, alpn.last().map(|name| name.as_bytes()));
            stream
                .write_all(list(&server).as_bytes())
                .await
                .expect("is sent");
            let mut answer = String::new();
            let _end = stream.read_to_string(&mut answer).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
        let stream = authority.connect(&server, &["h2", "http/1.1"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (mut sender, connection) = handshake.await.expect("speaks HTTP/2");
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let request = http::Request::get("https://localhost/api/v1/app")
            .header("authorization", format!("Bearer {}", server.token))
            .body(Full::new(Bytes::new()))
            .expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.expect("a body");
        assert!(!body.to_bytes().is_empty());

        // Who speaks without TLS is not answered in clear.
        let mut plain = TcpStream::connect(server.address).await.expect("connects");
        plain
            .write_all(list(&server).as_bytes())
            .await
            .expect("is sent");
        let mut bytes = Vec::new();
        let _end = plain.read_to_end(&mut bytes).await;
        assert!(
            !String::from_utf8_lossy(&bytes).contains("HTTP"),
            "{bytes:?}"
        );
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .expect("in time");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_shown_without_a_restart() {
    let (directory, authority) = (tempfile::tempdir().expect("a directory"), Authority::new());
    let limits = Limits {
        tls_files_interval: Duration::from_millis(10),
        ..Limits::default()
    };
    let server = start(authority.write(&directory), limits).await;
    let shown = async || {
        let stream = authority.connect(&server, &[]).await;
        stream.get_ref().1.peer_certificates().expect("a chain")[0].clone()
    };
    let exchange = async {
        let before = shown().await;
        let mut open = authority.connect(&server, &[]).await;
        authority.write(&directory);
        while shown().await == before {}
        // Connections that were there stay.
        open.write_all(list(&server).as_bytes())
            .await
            .expect("is sent");
        let mut answer = String::new();
        let _end = open.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .expect("in time");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_end_and_do_not_crowd_out_others() {
    let (directory, authority) = (tempfile::tempdir().expect("a directory"), Authority::new());
    let files = authority.write(&directory);
    let one = |limits| Limits {
        handshakes_max: 1,
        ..limits
    };
    let patient = start(files.clone(), one(Limits::default())).await;
    let short = Limits {
        handshake_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let short = start(files, one(short)).await;
    let exchange = async {
        // Someone who says nothing holds no place.
        let _silent = TcpStream::connect(patient.address).await.expect("connects");
        authority.connect(&patient, &[]).await;

        let mut silent = TcpStream::connect(short.address).await.expect("connects");
        let mut slow = TcpStream::connect(short.address).await.expect("connects");
        // The first bytes of a hello of 512 bytes.
        slow.write_all(&[22, 3, 1, 2, 0, 1]).await.expect("is sent");
        for stream in [&mut silent, &mut slow] {
            let mut bytes = Vec::new();
            // Closed or reset, but not kept.
            let _end = stream.read_to_end(&mut bytes).await;
        }
        // Its place is free again; on a busy machine one handshake may be too slow for the limit.
        while authority.try_connect(&short, &[]).await.is_err() {}
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .expect("in time");
    patient.stop().await;
    short.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_beside_tcp_even_with_one_connection_at_a_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hooklog.sock");
    let files = Authority::new().write(&directory);
    let server = Harness::start_as(|config| {
        config.listen.push(Address::Unix(path.clone()));
        config.limits.connections_max = 1;
        // A Unix socket needs no TLS, even where TCP has it.
        config.tls = Some(files);
    })
    .await;
    let exchange = async {
        for _ in 0..2 {
            let mut stream = UnixStream::connect(&path).await.expect("connects");
            stream
                .write_all(list(&server).as_bytes())
                .await
                .expect("is sent");
            read_reply(&mut stream).await.is(200);
        }
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .expect("in time");
    server.stop().await;
    assert!(!path.exists());
}
