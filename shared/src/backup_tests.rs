use serde_json::json;

use super::*;
use crate::fakes::MemoryTable;

fn item(pk: &str, sk: &str, body: &str) -> RawItem {
    let Value::Object(item) = json!({"pk": {"S": pk}, "sk": {"S": sk}, "body": {"S": body}}) else { panic!("an object") };
    item
}

#[test]
fn a_cursor_survives_its_text_and_nothing_else_is_one() {
    for (pk, sk) in [("acme#run#run_1", "step#000001"), ("ä.b", "\u{0}\"")] {
        let key = RawKey { pk: pk.into(), sk: sk.into() };
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    for bad in ["", ".", "61", "61.", ".61", "6.61", "61.6g", "61.6A", "+1.61", "ff.61", "61.61.61"] {
        assert!(bad.parse::<RawKey>().is_err(), "{bad}");
    }
}

#[test]
fn a_page_that_is_too_long_ends_early_and_says_where() {
    let long = "\"".repeat(LARGEST_PAGE / 12);
    let items: Vec<RawItem> = ["a", "b", "c", "d"].map(|pk| item(pk, "x", &long)).into();
    let page = fitting(RawPage { items: items.clone(), next: None });
    assert_eq!(page.items.len(), 2, "each quote is three signs in JSON and two more in Lambda's");
    assert_eq!(page.next, Some(RawKey { pk: "b".into(), sk: "x".into() }));
    let whole = RawPage { items: items[..2].to_vec(), next: None };
    assert_eq!(fitting(whole.clone()), whole);
}

#[tokio::test]
async fn what_is_there_is_never_changed_and_a_restore_may_be_repeated() {
    let table = MemoryTable::default();
    table.put(item("acme#run#1", "run", "new"));
    let items = [item("acme#run#1", "run", "old"), item("acme#run#2", "run", "old")];
    let first = restore(&table, &items).await.unwrap();
    let kept = vec![RawKey { pk: "acme#run#1".into(), sk: "run".into() }];
    assert_eq!(first, Restored { written: 1, unchanged: 0, kept: kept.clone() });
    assert_eq!(restore(&table, &items).await.unwrap(), Restored { written: 0, unchanged: 1, kept });
    assert_eq!(table.get("acme#run#1", "run").unwrap()["body"], json!({"S": "new"}));
}

#[tokio::test]
async fn a_bad_key_is_named_before_anything_is_written() {
    let table = MemoryTable::default();
    let mut bad = item("x", "y", "z");
    bad.remove("sk");
    assert!(matches!(restore(&table, &[item("a", "b", "c"), bad]).await, Err(BackupError::BadItem(1, _))));
    assert_eq!(table.len(), 0);
}

#[tokio::test]
async fn a_walk_over_all_segments_finds_every_item_once() {
    let table = MemoryTable::default();
    for n in 0..97 {
        table.put(item(&format!("acme#run#{n}"), "run", "x"));
    }
    let mut seen = Vec::new();
    for index in 0..4 {
        let (segment, mut after) = (Segment { index, of: 4 }, None);
        loop {
            let page = table.read_page(segment, after.as_ref()).await.unwrap();
            seen.extend(page.items.iter().filter_map(key_of).map(|key| key.pk));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((all, seen.len()), (97, 97));
}
