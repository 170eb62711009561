//! Whatever an adapter does wrong, its host answers with a typed error that names adapter, call and remedy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use privatix_adapter::{
    About, Adapter, AdapterError, AdapterRefusal, Allowance, Call, Configuration, Health, Host, ProductId,
    Provision, Provisioned, Role, Timeouts, UsageReporter, async_trait, usage_reports,
};
use privatix_channel::{ChannelId, Usage};
use tokio_util::sync::CancellationToken;

/// No call of a sound host takes this long, however slow the machine is: only what really hangs reaches it.
const LONG: Duration = Duration::from_mins(2);

/// Misbehaves in a way of its own in each call.
#[derive(Default)]
struct Unruly {
    /// What `resume` waits for.
    release: Mutex<Option<mpsc::Receiver<()>>>,
}

#[async_trait]
impl Adapter for Unruly {
    fn about(&self) -> About {
        let product = ProductId(uuid::Uuid::from_u128(9));
        About { product, name: "unruly".into(), version: "0".into(), roles: vec![Role::Agent] }
    }

    async fn configure(&self, _: Configuration, _: UsageReporter) -> Result<(), AdapterRefusal> {
        Err(AdapterRefusal::Settings {
            field: "listen".into(),
            reason: "not an address, write it as 0.0.0.0:1080".into(),
        })
    }

    async fn provision(&self, _: Provision) -> Result<Provisioned, AdapterRefusal> {
        Err(AdapterRefusal::NotConfigured)
    }

    async fn start(&self, _: ChannelId) -> Result<(), AdapterRefusal> {
        panic!("the cat sat on channel {}", 7)
    }

    async fn suspend(&self, _: ChannelId) -> Result<(), AdapterRefusal> {
        std::future::pending().await
    }

    async fn resume(&self, _: ChannelId) -> Result<(), AdapterRefusal> {
        // Blocks its thread, against all rules, until the test has seen what the host does about it.
        let release = self.release.lock().unwrap().take();
        if let Some(release) = release {
            let _ = release.recv_timeout(LONG);
        }
        Ok(())
    }

    async fn stop(&self, _: ChannelId) -> Result<(), AdapterRefusal> {
        Err(AdapterRefusal::Unavailable { reason: "no route".into(), remedy: "check the cable".into() })
    }

    async fn health(&self) -> Health {
        panic!("do not ask")
    }

    async fn shutdown(&self) -> Result<(), AdapterRefusal> {
        Ok(())
    }
}

fn host() -> Host {
    Host::with_timeouts(Arc::new(Unruly::default()), Timeouts::all(LONG)).unwrap()
}

fn channel() -> ChannelId {
    format!("0x{:064x}", 5).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_adapter_call_channel_and_field() {
    let (reporter, _reports) = usage_reports();
    let configuration = Configuration { role: Role::Agent, settings: serde_json::json!({}) };
    let error = host().configure(configuration, reporter).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "adapter `unruly` refused `configure`: setting `listen`: not an address, write it as 0.0.0.0:1080"
    );
    assert!(!error.is_temporary());
    let error = host().stop(channel()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("adapter `unruly` refused `stop` of channel {}: no route: check the cable", channel())
    );
    assert!(error.is_temporary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_the_adapter_does_not_serve_is_refused_without_asking_it() {
    let (reporter, _reports) = usage_reports();
    let configuration = Configuration { role: Role::Client, settings: serde_json::json!({}) };
    let error = host().configure(configuration, reporter).await.unwrap_err();
    assert_eq!(error.refusal(), Some(&AdapterRefusal::WrongRole { role: Role::Client }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_becomes_an_error_and_the_host_goes_on() {
    let host = host();
    let error = host.start(channel()).await.unwrap_err();
    let AdapterError::Panicked { call: Call::Start, message, .. } = &error else { panic!("{error}") };
    assert_eq!(message, "the cat sat on channel 7");
    assert!(host.stop(channel()).await.is_err_and(|error| error.is_temporary()));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_times_out_after_its_time() {
    let host = host();
    let start = tokio::time::Instant::now();
    let error = host.suspend(channel()).await.unwrap_err();
    assert!(matches!(error, AdapterError::TimedOut { call: Call::Suspend, after: LONG, .. }), "{error}");
    assert!(error.is_temporary());
    assert_eq!(start.elapsed(), LONG);
}

// Threads to spare: the blocked one may be any of them, also the one that would have told the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_that_blocks_its_thread_times_out() {
    let (release, blocked) = mpsc::channel();
    let adapter = Unruly { release: Mutex::new(Some(blocked)) };
    let host = Host::with_timeouts(Arc::new(adapter), Timeouts::all(Duration::from_millis(50))).unwrap();
    let error = host.resume(channel()).await.unwrap_err();
    assert!(matches!(error, AdapterError::TimedOut { call: Call::Resume, .. }), "{error}");
    drop(release);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_without_allowances_says_so() {
    assert_eq!(host().allow(channel(), Usage::new(1)).await, Ok(Allowance::NotEnforced));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_that_panics_is_failed_and_is_told_once() {
    let host = Arc::new(host());
    let mut changes = host.health_changes();
    let shutdown = CancellationToken::new();
    let polling = tokio::spawn({
        let (host, shutdown) = (Arc::clone(&host), shutdown.clone());
        async move { host.poll_health(Duration::from_millis(1), shutdown).await }
    });
    let health = changes.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(matches!(&health, Health::Failed { reason } if reason.contains("do not ask")), "{health:?}");
    host.health().await;
    assert!(!changes.has_changed().unwrap(), "the same answer again is not a change");
    shutdown.cancel();
    polling.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_shutdown_calls_are_refused_and_shutting_down_again_succeeds() {
    let host = host();
    host.shutdown().await.unwrap();
    let error = host.start(channel()).await.unwrap_err();
    assert!(matches!(error, AdapterError::ShutDown { call: Call::Start, .. }), "{error}");
    host.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_cannot_say_what_it_is_is_not_hosted() {
    struct Nameless;
    #[async_trait]
    impl Adapter for Nameless {
        fn about(&self) -> About {
            panic!("who am I")
        }
        async fn configure(&self, _: Configuration, _: UsageReporter) -> Result<(), AdapterRefusal> {
            Ok(())
        }
        async fn provision(&self, _: Provision) -> Result<Provisioned, AdapterRefusal> {
            Err(AdapterRefusal::NotConfigured)
        }
        async fn start(&self, _: ChannelId) -> Result<(), AdapterRefusal> {
            Ok(())
        }
        async fn suspend(&self, _: ChannelId) -> Result<(), AdapterRefusal> {
            Ok(())
        }
        async fn resume(&self, _: ChannelId) -> Result<(), AdapterRefusal> {
            Ok(())
        }
        async fn stop(&self, _: ChannelId) -> Result<(), AdapterRefusal> {
            Ok(())
        }
        async fn health(&self) -> Health {
            Health::Well
        }
        async fn shutdown(&self) -> Result<(), AdapterRefusal> {
            Ok(())
        }
    }
    let error = Host::new(Arc::new(Nameless)).unwrap_err();
    assert!(error.to_string().contains("who am I"), "{error}");
}

#[test]
fn what_an_adapter_in_another_process_says_survives_the_wire() {
    for refusal in [
        AdapterRefusal::UnknownChannel { channel: channel() },
        AdapterRefusal::WrongRole { role: Role::Agent },
        AdapterRefusal::Parameters { field: "endpoint.port".into(), reason: "is 0".into() },
        AdapterRefusal::ShutDown,
    ] {
        let json = serde_json::to_string(&refusal).unwrap();
        assert_eq!(serde_json::from_str::<AdapterRefusal>(&json).unwrap(), refusal, "{json}");
    }
    let provision = Provision::Sell {
        channel: channel(),
        credentials: privatix_adapter::Credentials { username: "u".into(), password: "p".into() },
        parameters: serde_json::json!({"a": 1}),
        used: Usage::new(3),
        up_to: Usage::new(5),
    };
    let json = serde_json::to_string(&provision).unwrap();
    assert_eq!(serde_json::from_str::<Provision>(&json).unwrap(), provision, "{json}");
    // What a role sends that does not name a bound allows nothing before it names one.
    let earlier = json.replace(r#","up_to":5"#, "");
    let Ok(Provision::Sell { up_to, .. }) = serde_json::from_str(&earlier) else { panic!("{earlier}") };
    assert!(up_to.is_zero() && earlier != json, "{earlier}");
    for health in [Health::Well, Health::Degraded { reason: "slow".into() }] {
        let json = serde_json::to_string(&health).unwrap();
        assert_eq!(serde_json::from_str::<Health>(&json).unwrap(), health, "{json}");
    }
}
