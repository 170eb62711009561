//! Open files: how many connections the process's limit allows, and which part may have how many.
//!
//! Each connection is an open file. At the limit nothing can be opened any more: no connection to the chain, none to the
//! control API, no file of the database. So the parts that meet strangers get bounds that leave the others theirs.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Connections, as configured or as the limit allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Connections {
    /// Connections through the plug-in. Each is two open files: towards the program and towards the destination.
    pub plug_in: usize,
    /// Connections to the plug-in that have not logged in.
    pub plug_in_strangers: usize,
    /// Connections to the messaging server that have proved a channel.
    pub messaging: usize,
    /// Connections to it that have not.
    pub messaging_strangers: usize,
}

/// The limit is too low for anything to work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the limit of open files (RLIMIT_NOFILE) is {limit}, at least {MINIMUM} are needed: raise it with `ulimit -n`, or with \
     LimitNOFILE= in the service's unit"
)]
pub struct TooFewFiles {
    /// The limit in effect.
    pub limit: usize,
}

/// What is never given to connections from elsewhere.
const RESERVE: usize = RUNTIME + DATABASE + API + CHAIN + LOOKUPS + PIPES + FAREWELLS;
/// Standard streams, the runtime's own, listening sockets, the log, files that are read once.
const RUNTIME: usize = 32;
/// Five connections, with a journal and an index each, and room for checkpoints.
const DATABASE: usize = 64;
/// The control API's connections: 64 with the token and 32 without.
const API: usize = 96;
/// To the chain endpoint, and to agents.
const CHAIN: usize = 64;
/// `ResolverLimits::default()`: 128 lookups of two sockets each.
const LOOKUPS: usize = 256;
/// The proxy has at most 96 pipes with two ends each.
const PIPES: usize = 192;
/// Connections that are informed why they end.
const FAREWELLS: usize = 64;
/// With fewer connections than this nothing is worth running.
const LEAST: Connections =
    Connections { plug_in: 64, plug_in_strangers: 32, messaging: 32, messaging_strangers: 32 };
const MINIMUM: usize = RESERVE + LEAST.open_files();

impl Connections {
    /// The open files that all of them are.
    const fn open_files(&self) -> usize {
        self.plug_in
            .saturating_mul(2)
            .saturating_add(self.plug_in_strangers)
            .saturating_add(self.messaging)
            .saturating_add(self.messaging_strangers)
    }

    /// What of these the limit of open files allows: all, or a part in which messaging, without which nobody can pay, has
    /// up to a quarter, strangers of either kind up to an eighth, and the plug-in what is left.
    ///
    /// # Errors
    /// [`TooFewFiles`].
    pub fn within(self, limit: usize) -> Result<Self, TooFewFiles> {
        let available = limit.saturating_sub(RESERVE);
        if limit < MINIMUM {
            return Err(TooFewFiles { limit });
        }
        if self.open_files() <= available {
            return Ok(self);
        }
        let mut allowed = Self {
            plug_in: 0,
            plug_in_strangers: self.plug_in_strangers.min(available / 8),
            messaging: self.messaging.min(available / 4),
            messaging_strangers: self.messaging_strangers.min(available / 8),
        };
        allowed.plug_in = self.plug_in.min((available - allowed.open_files()) / 2);
        // What the plug-in does not want.
        let left = available - allowed.open_files();
        allowed.messaging = self.messaging.min(allowed.messaging + left);
        let left = available - allowed.open_files();
        allowed.messaging_strangers = self.messaging_strangers.min(allowed.messaging_strangers + left);
        let left = available - allowed.open_files();
        allowed.plug_in_strangers = self.plug_in_strangers.min(allowed.plug_in_strangers + left);
        Ok(allowed)
    }

    /// What is allowed less than was wanted, for the operator.
    pub(crate) fn lowered_from(self, wanted: Self, limit: usize) -> Option<String> {
        let changes: Vec<String> = [
            ("connections of the plug-in", wanted.plug_in, self.plug_in),
            ("connections of the plug-in before login", wanted.plug_in_strangers, self.plug_in_strangers),
            ("somc.max_connections", wanted.messaging, self.messaging),
            ("somc.max_strangers", wanted.messaging_strangers, self.messaging_strangers),
        ]
        .into_iter()
        .filter(|(_, wanted, allowed)| allowed < wanted)
        .map(|(what, wanted, allowed)| format!("{what} {allowed} instead of {wanted}"))
        .collect();
        (!changes.is_empty()).then(|| {
            format!(
                "the limit of open files (RLIMIT_NOFILE) is {limit} and allows fewer connections than configured: {}; \
                 raise it with `ulimit -n`, or with LimitNOFILE= in the service's unit",
                changes.join(", ")
            )
        })
    }
}

/// Raises the process's limit as far as it may by itself, and returns what holds.
pub(crate) fn raise_limit() -> usize {
    let before = getrlimit(Resource::Nofile);
    let mut raised = before;
    raised.current = before.maximum;
    if before.current != raised.current
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        // E.g. where the system has another limit below what it says is the most.
        tracing::warn!(%error, limit = ?before.current, "cannot raise the limit of open files (RLIMIT_NOFILE)");
    }
    // None: no limit.
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEFAULTS: Connections =
        Connections { plug_in: 4096, plug_in_strangers: 1024, messaging: 4096, messaging_strangers: 1024 };

    #[test]
    fn each_limit_has_its_budget() {
        let budget = |plug_in, plug_in_strangers, messaging, messaging_strangers| Connections {
            plug_in,
            plug_in_strangers,
            messaging,
            messaging_strangers,
        };
        for (limit, wanted, allowed) in [
            (usize::MAX, DEFAULTS, DEFAULTS),
            (20_000, DEFAULTS, DEFAULTS),
            (RESERVE + DEFAULTS.open_files(), DEFAULTS, DEFAULTS),
            // The usual soft limit where the hard one is no higher.
            (1024, DEFAULTS, budget(64, 32, 64, 32)),
            (4096, DEFAULTS, budget(832, 416, 832, 416)),
            (MINIMUM, DEFAULTS, budget(56, 28, 56, 28)),
            // A buyer has no messaging server, and nobody logs in at its ports.
            (1024, budget(4096, 0, 0, 0), budget(128, 0, 0, 0)),
            // What one does not want, another gets.
            (4096, budget(10, 10, 9000, 9000), budget(10, 10, 2882, 416)),
        ] {
            assert_eq!(wanted.within(limit), Ok(allowed), "{limit}");
        }
        for limit in [0, 256, MINIMUM - 1] {
            let refused = DEFAULTS.within(limit).unwrap_err();
            assert_eq!(refused, TooFewFiles { limit });
            assert!(refused.to_string().contains("ulimit -n"), "{refused}");
        }
        const { assert!(MINIMUM <= 1024, "the usual soft limit is enough to begin with") };
    }

    #[test]
    fn what_was_lowered_is_named() {
        let allowed = DEFAULTS.within(8192).unwrap();
        let said = allowed.lowered_from(DEFAULTS, 8192).unwrap();
        assert!(
            said.contains("RLIMIT_NOFILE) is 8192")
                && said.contains("somc.max_connections 1856 instead of 4096"),
            "{said}"
        );
        assert_eq!(DEFAULTS.lowered_from(DEFAULTS, 20_000), None);
    }

    proptest! {
        #[test]
        fn a_budget_keeps_the_reserve_and_nobody_gets_more_than_wanted(
            limit in 0_usize..100_000,
            plug_in in 0_usize..20_000,
            plug_in_strangers in 0_usize..20_000,
            messaging in 0_usize..20_000,
            messaging_strangers in 0_usize..20_000,
        ) {
            let wanted = Connections { plug_in, plug_in_strangers, messaging, messaging_strangers };
            let Ok(allowed) = wanted.within(limit) else {
                prop_assert!(limit < MINIMUM);
                return Ok(());
            };
            prop_assert!(allowed.open_files() + RESERVE <= limit);
            prop_assert!(allowed.plug_in <= plug_in && allowed.plug_in_strangers <= plug_in_strangers);
            prop_assert!(allowed.messaging <= messaging && allowed.messaging_strangers <= messaging_strangers);
            // Each has a part, whatever the others want.
            let least = |wanted: usize, least: usize| wanted.min(least * 7 / 8);
            prop_assert!(allowed.plug_in >= least(plug_in, LEAST.plug_in));
            prop_assert!(allowed.plug_in_strangers >= least(plug_in_strangers, LEAST.plug_in_strangers));
            prop_assert!(allowed.messaging >= least(messaging, LEAST.messaging));
            prop_assert!(allowed.messaging_strangers >= least(messaging_strangers, LEAST.messaging_strangers));
            let left = limit - RESERVE - allowed.open_files();
            prop_assert!(allowed == wanted || left <= 1 || allowed.lowered_from(wanted, limit).is_none());
        }
    }
}
