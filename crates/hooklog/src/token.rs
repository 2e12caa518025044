//! `hooklog token`: makes a bearer token with the secret of a data directory.
//!
//! **Invariant:** stdout gets the token and nothing else; the data directory is opened only when no
//! server answers for it.
//! **Next:** `publish.rs`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use hooklog::server::token::{Subject, mint};
use hooklog::server::{DEFAULT_ORGANISATION, TokenKey};
use hooklog::storage::{self, ApplicationId, EventLog, OrganisationId, Timestamp, Uid};
use hyper::Method;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::client::{CallError, Client};
use crate::config::Settings;
use crate::output;
use crate::token_keys::{self, TokenKeyFlags};
use crate::units::HumanDuration;

/// How long a token lives that a command makes for itself: longer than any of them runs.
const OWN_TOKEN: Duration = Duration::from_hours(24);

/// Make a bearer token and print it.
#[derive(Args, Serialize)]
#[command(after_help = HELP)]
pub(crate) struct Flags {
    /// Data directory whose secret signs the token [default: ./hooklog-data].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// For this application alone, by uid or id, as for a customer's own page [default: for the
    /// whole organisation].
    #[arg(long, value_name = "UID_OR_ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    /// For the operator: `hooklog backup` of everything, and nothing else.
    #[arg(long, conflicts_with_all = ["app", "org"])]
    #[serde(skip)]
    operator: bool,
    /// How long it is valid [default: 28d].
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<HumanDuration>,
    /// Organisation, when there are several side by side [default: the one that all tokens are for].
    #[arg(long, value_name = "ORG_ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<String>,
    /// Server to ask for the id of a uid [default: `http://127.0.0.1:8071`].
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Url>,
    #[command(flatten)]
    #[serde(flatten)]
    keys: TokenKeyFlags,
}

const HELP: &str = "\
Examples:
  hooklog token                                  # everything of the organisation
  hooklog token --app customer-7 --expires 1h    # one application
  hooklog token --operator --expires 1h          # backups from elsewhere

The server accepts a token that was signed with its own secret: run this with the data directory (or
HOOKLOG_JWT_SECRET) of the server; or with the private key, where it takes tokens of a pair.";

/// Whom a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// A tenant or one of its applications.
    Tenant,
    /// Who runs the server.
    Operator,
}

impl Flags {
    /// Whom the token is for.
    pub(crate) fn audience(&self) -> Audience {
        if self.operator {
            Audience::Operator
        } else {
            Audience::Tenant
        }
    }
}

/// Prints one token.
pub(crate) fn run(settings: &Settings, audience: Audience) -> anyhow::Result<()> {
    let organisation = organisation(settings)?;
    // Before anything is asked or opened: without a secret nothing helps.
    let key = token_keys::signing(settings)?;
    // An application that the environment names is not asked for here.
    let app = settings.app.as_deref();
    let subject = match app.filter(|_| audience == Audience::Tenant) {
        None if audience == Audience::Operator => Subject::Operator,
        None => Subject::Organisation(organisation),
        Some(app) => {
            let application = match app.parse::<ApplicationId>() {
                Ok(id) => id,
                Err(_) => resolve(settings, &key, organisation, app)
                    .with_context(|| format!("application {app:?}"))?,
            };
            Subject::Application {
                application,
                organisation,
            }
        }
    };
    anyhow::ensure!(
        !settings.expires.0.is_zero(),
        "--expires must be above zero"
    );
    output::line(mint(&key, subject, now(), settings.expires.0)?)
}

/// The token that a command uses for itself: the user's, or one made on the spot.
pub(crate) fn for_client(settings: &Settings) -> anyhow::Result<String> {
    if let Some(token) = &settings.token {
        return Ok(token.trim().to_owned());
    }
    let subject = Subject::Organisation(organisation(settings)?);
    Ok(mint(
        &token_keys::signing(settings)?,
        subject,
        now(),
        OWN_TOKEN,
    )?)
}

/// The token for a backup: the user's, or one made on the spot.
pub(crate) fn for_operator(settings: &Settings) -> anyhow::Result<String> {
    if let Some(token) = &settings.token {
        return Ok(token.trim().to_owned());
    }
    let key = token_keys::signing(settings)?;
    Ok(mint(&key, Subject::Operator, now(), OWN_TOKEN)?)
}

/// The organisation that was set, or the one of all tokens.
pub(crate) fn organisation(settings: &Settings) -> anyhow::Result<OrganisationId> {
    let text = settings.org.as_deref().unwrap_or(DEFAULT_ORGANISATION);
    text.parse().with_context(|| format!("--org {text:?}"))
}

/// The id of an application's uid: from the running server, which holds the data directory's lock,
/// or else from the directory itself.
fn resolve(
    settings: &Settings,
    key: &TokenKey,
    organisation: OrganisationId,
    uid: &str,
) -> anyhow::Result<ApplicationId> {
    let uid: Uid = uid.parse()?;
    let subject = Subject::Organisation(organisation);
    let token = mint(key, subject, now(), OWN_TOKEN)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let answer = runtime.block_on(async {
        let client = Client::new(&settings.server, &token)?;
        let path = ["app", uid.as_str()];
        anyhow::Ok(client.call(Method::GET, &path, None, Bytes::new()).await)
    })?;
    match answer {
        Ok(body) => {
            #[derive(Deserialize)]
            struct Application {
                id: String,
            }
            let application: Application =
                serde_json::from_slice(&body).context("the server's answer is not understood")?;
            Ok(application.id.parse()?)
        }
        Err(unreachable @ CallError::Unreachable { .. }) => {
            // Both reasons: the server may be elsewhere, or the directory.
            let why = format!("{unreachable} (is --server right?), and without a server");
            look_up(settings, organisation, &uid).context(why)
        }
        Err(error) => Err(error).with_context(|| format!("asked {}", settings.server)),
    }
}

fn look_up(
    settings: &Settings,
    organisation: OrganisationId,
    uid: &Uid,
) -> anyhow::Result<ApplicationId> {
    let directory = &settings.data_dir;
    // Opening would create it.
    anyhow::ensure!(
        directory.is_dir(),
        "no data directory {}",
        directory.display()
    );
    let log = EventLog::open(storage::Config::new(directory))?;
    let found = log
        .registry()
        .find_application(organisation, uid.as_str())
        .map(|app| app.id);
    log.close()?;
    found.with_context(|| format!("not found in {}", directory.display()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the composition root: tokens start now"
)]
fn now() -> Timestamp {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests;
