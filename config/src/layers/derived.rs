//! Values that follow from other settings and from what systemd provides.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use figment::value::Value;

use super::{Layer, Merged, whole_number};
use crate::{origin::Origin, schema::field};

/// What is not set in `above` and follows from it and from `variables`. `installed` says whether the file in
/// use is that of an installed package, which has its places under `/var/lib` and `/run`.
pub(crate) fn derived(above: &Merged, variables: &BTreeMap<String, String>, installed: bool) -> Layer {
    let mut layer = Layer::default();
    let mut set = |key, value: Value, origin| {
        if let Some(field) = field(key)
            && !above.has(key)
        {
            layer.set(field, value, origin);
        }
    };
    // systemd separates several directories by colons; the first one is ours.
    let provided = |name: &str| {
        let directory = variables.get(name)?.split(':').next().filter(|directory| !directory.is_empty())?;
        Some(PathBuf::from(directory))
    };
    let from_variable = |name: &str| Origin::Variable(name.to_owned());

    let (state_dir, origin) = match (provided("STATE_DIRECTORY"), installed) {
        (Some(directory), _) => (directory, from_variable("STATE_DIRECTORY")),
        (None, true) => {
            (PathBuf::from("/var/lib/keepwell"), Origin::Derived("default of an installed package"))
        }
        (None, false) => (PathBuf::from("./var"), Origin::Default),
    };
    set("state_dir", path(&state_dir), origin);

    let state_dir = above.text("state_dir").map_or(state_dir, PathBuf::from);
    let (directory, origin) = match (provided("RUNTIME_DIRECTORY"), installed) {
        (Some(directory), _) => (directory, from_variable("RUNTIME_DIRECTORY")),
        (None, true) => (PathBuf::from("/run/keepwell"), Origin::Derived("default of an installed package")),
        (None, false) => (state_dir, Origin::Derived("in the state directory")),
    };
    set("operators.socket", path(&directory.join("operators.sock")), origin);

    let slots = above.value("pool.slots").and_then(|slots| whole_number(&slots)).unwrap_or(0);
    let crisis_slots = u64::try_from((slots.saturating_add(4)) / 5).unwrap_or(0).max(2);
    set("pool.crisis_slots", crisis_slots.into(), Origin::Derived("a fifth of pool.slots"));
    layer
}

fn path(path: &Path) -> Value {
    path.to_string_lossy().as_ref().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::defaults;

    fn values(variables: &[(&str, &str)], installed: bool) -> [String; 2] {
        let variables =
            variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let layer = derived(&Merged::of([&defaults().0]), &variables, installed);
        ["state_dir", "operators.socket"].map(|key| layer.entries[key].value.as_str().unwrap().to_owned())
    }

    #[test]
    fn directories_come_from_systemd_then_from_the_package_then_from_here() {
        assert_eq!(values(&[], false), ["./var", "./var/operators.sock"]);
        assert_eq!(values(&[], true), ["/var/lib/keepwell", "/run/keepwell/operators.sock"]);
        let systemd = [("STATE_DIRECTORY", "/a:/b"), ("RUNTIME_DIRECTORY", "/run/a")];
        assert_eq!(values(&systemd, true), ["/a", "/run/a/operators.sock"]);
        assert_eq!(values(&[("STATE_DIRECTORY", "/a")], false), ["/a", "/a/operators.sock"]);
    }

    #[test]
    fn a_fifth_of_the_slots_is_for_crisis_work_and_never_less_than_two() {
        for (slots, crisis_slots) in [(4, 2), (10, 2), (11, 3), (64, 13), (100, 20)] {
            let (mut above, _) = defaults();
            above.set(field("pool.slots").unwrap(), slots.into(), Origin::Default);
            let layer = derived(&Merged::of([&above]), &BTreeMap::new(), false);
            assert_eq!(layer.entries["pool.crisis_slots"].value.to_u128(), Some(crisis_slots), "{slots}");
        }
    }
}
