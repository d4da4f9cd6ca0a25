//! The built-in tiers.

use keepwell_config::TIERS_TOML;
use toml::{Table, Value};

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn every_tier_says_what_it_opens_and_every_price_buys_one() {
    let table: Table = toml::from_str(TIERS_TOML).unwrap();
    let tiers = table["tiers"].as_table().unwrap();
    let shape: Vec<_> = ["trial", "basic", "premium", "grace_period"]
        .map(|name| {
            (
                tiers[name]["sync_frequency"].as_str().unwrap(),
                tiers[name].get("data_limit_mb").and_then(Value::as_integer),
            )
        })
        .to_vec();
    assert_eq!(
        shape,
        [("background", Some(10)), ("standard", Some(50)), ("realtime", None), ("frequent", Some(25))]
    );
    assert_eq!(tiers.len(), 4);
    assert!(tiers.contains_key(table["default_tier"].as_str().unwrap()));
    for (price, tier) in table["prices"].as_table().unwrap() {
        assert!(tiers.contains_key(tier.as_str().unwrap()), "{price}");
    }
}

#[test]
fn the_floor_has_all_that_may_never_be_taken_away() {
    let table: Table = toml::from_str(TIERS_TOML).unwrap();
    let floor = texts(&table["floor"]["features"]);
    assert_eq!(floor.len(), 8);
    for tier in table["tiers"].as_table().unwrap().values() {
        assert!(texts(&tier["disabled"]).iter().all(|feature| !floor.contains(feature)));
    }
}

#[test]
fn better_tiers_rank_higher_and_the_grace_period_lowest() {
    let table: Table = toml::from_str(TIERS_TOML).unwrap();
    let rank = |name: &str| table["tiers"][name]["rank"].as_integer().unwrap();
    assert!(
        rank("grace_period") < rank("trial")
            && rank("trial") < rank("basic")
            && rank("basic") < rank("premium")
    );
}
