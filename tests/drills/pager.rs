//! Who is paged while something is drilled: nobody whom the drill does not call for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use tests::Stack;
use tests::cloudwatch::{CloudWatch, Listener};

/// Signs that drills have called for so far: what one of them has left may page while the next one runs.
static CALLED_FOR: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Hears the pages of a stack.
pub(crate) struct Pager {
    pages: Listener,
    /// The signs that each page stands for, by its alarm's name; without the stack's.
    signs: BTreeMap<String, BTreeSet<String>>,
    prefix: String,
}

impl Pager {
    /// Listens from now on.
    pub(crate) fn of(stack: &Stack) -> Self {
        let alarms = CloudWatch::new(&stack.emulator).alarms();
        let prefix = format!("{}-", stack.name);
        let topics = &alarms[&format!("{prefix}store-trouble")]["AlarmActions"];
        let Some(topic) = topics[0].as_str() else { panic!("nobody is paged: {topics}") };
        let pages = Listener::of_topic(&stack.emulator, topic);
        let begin = format!("ALARM(\"{prefix}");
        let signs = alarms.iter().map(|(name, alarm)| {
            let own = name.trim_start_matches(&prefix).to_owned();
            let rule = alarm["AlarmRule"].as_str().unwrap_or_default();
            let named = rule.split(begin.as_str()).skip(1).filter_map(|rest| rest.split('"').next().map(str::to_owned));
            (own.clone(), named.chain([own]).collect())
        });
        Self { pages, signs: signs.collect(), prefix }
    }

    /// A drill calls for all signs that `is_named`.
    pub(crate) fn expect(&self, is_named: impl Fn(&str) -> bool) {
        let mut called_for = CALLED_FOR.lock().unwrap_or_else(PoisonError::into_inner);
        called_for.extend(self.signs.values().flatten().filter(|sign| is_named(sign)).cloned());
    }

    /// Fails if something has paged that no drill has called for.
    #[track_caller]
    pub(crate) fn must_be_quiet(&self, drill: &str) {
        let called_for = CALLED_FOR.lock().unwrap_or_else(PoisonError::into_inner);
        let unexpected: Vec<String> = self
            .pages
            .notices()
            .into_iter()
            .filter(|notice| notice.state == "ALARM")
            .map(|notice| notice.alarm.trim_start_matches(&self.prefix).to_owned())
            .filter(|alarm| self.signs.get(alarm).is_none_or(|signs| signs.is_disjoint(&called_for)))
            .collect();
        assert!(unexpected.is_empty(), "{drill}: this paged, and nothing called for it: {unexpected:?}");
    }
}
