//! Objectives: kept in place of what was, and forgotten with their names.

use super::*;
use crate::store::KeptObjective;

fn objective(name: &str, state: &str) -> KeptObjective {
    KeptObjective {
        name: name.to_owned(),
        state: state.into(),
    }
}

#[tokio::test]
async fn objectives_are_kept_by_name_and_forgotten_when_nobody_knows_them() {
    let dir = dir();
    let store = open(&dir);
    let known = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let both = vec![objective("b", "1"), objective("a", "2")];
    store
        .keep_objectives(both, known(&["a", "b"]))
        .await
        .unwrap();
    let again = vec![objective("a", "3")];
    store
        .keep_objectives(again, known(&["a", "b"]))
        .await
        .unwrap();
    let kept = store.objectives().await.unwrap();
    assert_eq!(kept, [objective("a", "3"), objective("b", "1")]);
    store
        .keep_objectives(Vec::new(), known(&["b"]))
        .await
        .unwrap();
    assert_eq!(store.objectives().await.unwrap(), [objective("b", "1")]);
}
