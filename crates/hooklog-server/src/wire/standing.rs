//! What became of a message at an endpoint, in JSON.
//!
//! **Invariant:** the numbers and words are the API family's.
//! **Next:** `wire/attempt.rs`.

use hooklog_storage::{Delivered, DeliveryStatus, Record, Subscription, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Content, EndpointOut, MessageOut, schemas, some_time};

/// What became of an event at a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Delivered,
    /// It waits, be it for the next attempt of several, for its first, or for its time.
    Pending {
        due: Option<Timestamp>,
    },
    Failed,
}

impl Standing {
    /// What the log tells; `None` if the event was none of the subscription's.
    pub(crate) fn new(status: &DeliveryStatus) -> Option<Self> {
        match status.delivered {
            Delivered::Yes => Some(Self::Delivered),
            Delivered::Pending => Some(Self::Pending {
                due: status.next_attempt(),
            }),
            Delivered::Failed => Some(Self::Failed),
            Delivered::Never => None,
        }
    }

    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Delivered => 0,
            Self::Pending { .. } => 1,
            Self::Failed => 2,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StandingOut {
    #[schema(minimum = 0, maximum = 3)]
    status: u16,
    status_text: &'static str,
    #[serde(serialize_with = "some_time")]
    #[schema(required, value_type = Option<schemas::Time>)]
    next_attempt: Option<Timestamp>,
}

impl From<Standing> for StandingOut {
    fn from(standing: Standing) -> Self {
        let (status_text, next_attempt) = match standing {
            Standing::Delivered => ("success", None),
            Standing::Pending { due } => ("pending", due),
            Standing::Failed => ("fail", None),
        };
        Self {
            status: standing.status(),
            status_text,
            next_attempt,
        }
    }
}

/// A message of an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndpointMessageOut<'a> {
    #[serde(flatten)]
    message: MessageOut<'a>,
    #[serde(flatten)]
    standing: StandingOut,
}

impl<'a> EndpointMessageOut<'a> {
    pub(crate) fn new(record: &'a Record, standing: Standing, content: Content) -> Self {
        Self {
            message: MessageOut::new(record, content),
            standing: standing.into(),
        }
    }
}

/// An endpoint of a message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessageEndpointOut<'a> {
    #[serde(flatten)]
    endpoint: EndpointOut<'a>,
    #[serde(flatten)]
    standing: StandingOut,
}

impl<'a> MessageEndpointOut<'a> {
    pub(crate) fn new(value: &'a Subscription, standing: Standing) -> Self {
        Self {
            endpoint: EndpointOut::from(value),
            standing: standing.into(),
        }
    }
}

/// How many attempts at an endpoint ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AttemptStatsOut {
    pub(crate) success: u64,
    pub(crate) fail: u64,
    /// Nothing is canceled by this server.
    canceled: u64,
}

/// How many messages of an endpoint are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct StatsOut {
    pub(crate) success: u64,
    pub(crate) pending: u64,
    /// An attempt under way is known when it ends.
    sending: u64,
    pub(crate) fail: u64,
    /// Nothing is canceled by this server.
    canceled: u64,
}
