//! Addresses and sockets: what is parsed, what is taken over, what is left alone.
//!
//! **Invariant:** sockets lie in temporary directories; TCP ports are free ones.
//! **Next:** `routes/tests/doors.rs`, requests over them.

use std::os::unix::net::UnixListener as Blocking;

use super::*;

fn unix(path: &Path) -> Address {
    Address::Unix(path.to_owned())
}

async fn refused(path: &Path) -> io::Error {
    let refused = Listeners::bind(&[unix(path)]).await;
    let (address, error) = refused.map(|_| ()).expect_err("is refused");
    assert_eq!(address, unix(path));
    error
}

#[test]
fn addresses_are_texts() {
    let good = [
        "127.0.0.1:8071",
        "[::]:0",
        "unix:/run/hooklog.sock",
        "unix:relative.sock",
    ];
    for text in good {
        let address: Address = text.parse().expect(text);
        assert_eq!(address.to_string(), text);
        assert_eq!(address.tcp().is_none(), text.starts_with("unix:"));
    }
    for text in [
        "",
        "nowhere",
        "localhost:8071",
        "127.0.0.1",
        "unix:",
        "/run/a.sock",
        ":8071",
    ] {
        let error = text.parse::<Address>().expect_err(text).to_string();
        assert!(
            error.starts_with(&format!("{text:?} is neither ")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn only_the_socket_of_nobody_is_taken_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.sock");
    // What a killed server leaves: the file stays when its listener is dropped.
    drop(Blocking::bind(&path).expect("binds"));
    assert!(path.exists());
    let listeners = Listeners::bind(&[unix(&path)]).await.expect("takes over");
    assert_eq!(listeners.addresses().expect("one"), [unix(&path)]);
    let mode = path.metadata().expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    // One that is in use is not.
    assert_eq!(refused(&path).await.kind(), io::ErrorKind::AddrInUse);
    UnixStream::connect(&path).await.expect("still answers");
    drop(listeners);
    assert!(!path.exists(), "our own goes with us");

    fs::write(&path, "precious").expect("is written");
    assert_eq!(refused(&path).await.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).expect("is still there"), b"precious");
    let nowhere = directory.path().join("no/such/directory.sock");
    assert_eq!(refused(&nowhere).await.kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_socket_that_took_the_place_of_ours_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.sock");
    let ours = Listeners::bind(&[unix(&path)]).await.expect("binds");
    fs::remove_file(&path).expect("is removed");
    let _theirs = Blocking::bind(&path).expect("binds");
    drop(ours);
    assert!(path.exists());
}

#[tokio::test]
async fn all_or_none_are_bound() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.sock");
    let held = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let taken = Address::Tcp(held.local_addr().expect("an address"));
    let failed = Listeners::bind(&[unix(&path), taken.clone()]).await;
    let (address, error) = failed.map(|_| ()).expect_err("is taken");
    assert_eq!((address, error.kind()), (taken, io::ErrorKind::AddrInUse));
    assert!(!path.exists(), "and the first is given up");
}

#[tokio::test]
async fn each_listener_gets_its_turn() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.sock");
    let addresses = [(Ipv4Addr::LOCALHOST, 0).into(), unix(&path)];
    let mut listeners = Listeners::bind(&addresses).await.expect("binds");
    let tcp = listeners.addresses().expect("both")[0].tcp().expect("TCP");
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(TcpStream::connect(tcp).await.expect("connects"));
    }
    let _one = UnixStream::connect(&path).await.expect("connects");
    let mut kinds = Vec::new();
    for _ in 0..5 {
        kinds.push(match listeners.accept().await.expect("accepts") {
            Accepted::Tcp(..) => "tcp",
            Accepted::Unix(_) => "unix",
        });
    }
    let unix_at = kinds.iter().position(|kind| *kind == "unix");
    assert!(unix_at.is_some_and(|at| at <= 1), "{kinds:?}");
}
