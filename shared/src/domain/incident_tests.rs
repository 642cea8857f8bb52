use super::*;

fn at(text: &str) -> Timestamp {
    format!("2026-01-02T{text}Z").parse().unwrap()
}

fn opened(severity: Severity) -> Incident {
    let now = at("02:10:00");
    Incident::open(IncidentId::new(now), "models time out".into(), severity, String::new(), now, "ana", now).0
}

fn to(status: IncidentStatus) -> Update {
    Update { status: Some(status), ..Update::default() }
}

#[test]
fn each_severity_has_its_response_clock() {
    for (severity, due) in [
        (Severity::P0, "2026-01-02T02:25:00Z"),
        (Severity::P1, "2026-01-02T03:10:00Z"),
        (Severity::P2, "2026-01-02T06:10:00Z"),
        (Severity::P3, "2026-01-03T02:10:00Z"),
    ] {
        assert_eq!(opened(severity).acknowledge_due(), due.parse().unwrap(), "{severity:?}");
    }
}

#[test]
fn the_response_clock_is_met_or_missed_when_somebody_takes_it() {
    let incident = opened(Severity::P0);
    assert_eq!(incident.acknowledge_clock(at("02:25:00")), ClockState::Running);
    assert_eq!(incident.acknowledge_clock(at("02:25:01")), ClockState::Overdue);
    let take = || Update { acknowledge: true, ..Update::default() };
    let (met, entry) = incident.clone().updated(take(), "bo", at("02:20:00")).unwrap();
    assert_eq!((met.acknowledge_clock(at("09:00:00")), entry.kind, entry.no), (ClockState::Met, EntryKind::Acknowledged, 2));
    assert_eq!((met.acknowledged_by.as_deref(), met.next_update_due), (Some("bo"), incident.next_update_due));
    let (late, _) = incident.updated(to(IncidentStatus::Identified), "bo", at("02:30:00")).unwrap();
    assert_eq!(late.acknowledge_clock(at("02:30:00")), ClockState::Missed, "an update takes it as well");
    assert_eq!(late.seconds_to(late.acknowledged_at), Some(1_200));
}

#[test]
fn the_clock_starts_when_it_was_noticed_not_when_it_was_written_down() {
    let incident = Incident { detected_at: at("02:00:00"), ..opened(Severity::P0) };
    assert_eq!(incident.acknowledge_clock(at("02:16:00")), ClockState::Overdue);
    let now = at("02:10:00");
    let (future, _) = Incident::open(IncidentId::new(now), "x".into(), Severity::P0, String::new(), at("05:00:00"), "ana", now);
    assert_eq!(future.detected_at, now, "nobody notices what comes");
}

#[test]
fn the_others_hear_of_it_every_half_hour_until_it_is_over() {
    let incident = opened(Severity::P1);
    assert!(!incident.is_update_overdue(at("02:40:00")) && incident.is_update_overdue(at("02:40:01")));
    let (noted, _) = incident.noted("looked at the logs".into(), "ana", at("02:20:00"));
    assert!(noted.is_update_overdue(at("02:41:00")), "a note tells nobody");
    let (updated, _) = noted.updated(to(IncidentStatus::Identified), "ana", at("02:41:00")).unwrap();
    assert_eq!(updated.next_update_due, Some(at("03:11:00")));
    let soon = Update { next_update_minutes: Some(10), text: Some("nearly".into()), ..Update::default() };
    let (updated, _) = updated.updated(soon, "ana", at("03:00:00")).unwrap();
    assert_eq!(updated.next_update_due, Some(at("03:10:00")));
    let (over, _) = updated.updated(Update { force: true, ..to(IncidentStatus::Resolved) }, "ana", at("03:05:00")).unwrap();
    assert!(!over.is_update_overdue(at("09:00:00")));
}

#[test]
fn it_is_resolved_after_a_fix_was_watched_for_half_an_hour() {
    let incident = opened(Severity::P1);
    let over = || to(IncidentStatus::Resolved);
    assert_eq!(incident.clone().updated(over(), "ana", at("09:00:00")).unwrap_err(), Unresolved::NotMonitored);
    let (watched, _) = incident.updated(to(IncidentStatus::Monitoring), "ana", at("03:00:00")).unwrap();
    let (watched, _) = watched.updated(to(IncidentStatus::Monitoring), "ana", at("03:20:00")).unwrap();
    assert_eq!(watched.clone().updated(over(), "ana", at("03:29:59")).unwrap_err(), Unresolved::Until(at("03:30:00")));
    let (resolved, entry) = watched.updated(over(), "ana", at("03:30:00")).unwrap();
    assert_eq!((entry.kind, resolved.seconds_to(resolved.resolved_at)), (EntryKind::Resolved, Some(4_800)));
    assert_eq!(resolved.review_due(), Some("2026-01-04T03:30:00Z".parse().unwrap()));
    let (again, entry) = resolved.updated(to(IncidentStatus::Investigating), "ana", at("04:00:00")).unwrap();
    assert_eq!((again.resolved_at, again.monitored_since, entry.kind), (None, None, EntryKind::Reopened));
}

#[test]
fn the_timeline_says_what_changed() {
    let update = Update {
        severity: Some(Severity::P0),
        root_cause: Some("an expired key".into()),
        text: Some("found it".into()),
        ..to(IncidentStatus::Identified)
    };
    let (incident, entry) = opened(Severity::P2).updated(update, "ana", at("02:20:00")).unwrap();
    assert_eq!(entry.text, "found it\nseverity P0 instead of P2\nroot cause: an expired key");
    assert_eq!((incident.severity, entry.status), (Severity::P0, IncidentStatus::Identified));
}
