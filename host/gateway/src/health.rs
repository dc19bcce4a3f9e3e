//! Probing releases: who is well although nobody calls it, and who is not.
//!
//! One task for each release that is to be probed, which ends with it. Always
//! holds: a release is up until as many probes in a row as its model says have
//! failed; a probe never touches a breaker.

use crate::config::Probe;
use crate::release::Release;
use crate::upstream::probe;
use std::sync::Arc;

/// Probes `release` for as long as anybody holds it.
pub(crate) fn watch(release: &Arc<Release>, spec: Probe) {
    let watched = Arc::downgrade(release);
    let (target, name) = (release.target().clone(), release.target().name().to_owned());
    tokio::spawn(async move {
        let mut row = Row::default();
        // Many releases, or nodes, do not ask all at once.
        tokio::time::sleep(spec.every.mul_f64(fastrand::f64())).await;
        loop {
            let asked = probe(&target, &spec.path, spec.timeout).await;
            let Some(release) = watched.upgrade() else {
                return;
            };
            if let Some(healthy) = row.next(asked.is_ok(), &spec) {
                release.set_probed(healthy);
                match asked {
                    Ok(()) => tracing::info!(release = name, "probe: up again"),
                    Err(failure) => {
                        tracing::warn!(release = name, detail = failure.detail, "probe: down");
                    }
                }
            }
            drop(release);
            let jitter = 0.9 + 0.2 * fastrand::f64();
            tokio::time::sleep(spec.every.mul_f64(jitter)).await;
        }
    });
}

/// Probes in a row that came to the same.
#[derive(Debug, Default)]
struct Row {
    down: bool,
    length: u32,
}

impl Row {
    /// Takes the next probe; the new state where it changes.
    fn next(&mut self, well: bool, spec: &Probe) -> Option<bool> {
        if well != self.down {
            self.length = 0;
            return None;
        }
        self.length += 1;
        let needed = if well {
            spec.healthy_after
        } else {
            spec.unhealthy_after
        };
        if self.length < needed {
            return None;
        }
        self.length = 0;
        self.down = !well;
        Some(well)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_takes_so_many_in_a_row() {
        let spec = Probe {
            every: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            path: "/models".into(),
            unhealthy_after: 3,
            healthy_after: 2,
        };
        let mut row = Row::default();
        let changes: Vec<_> = "xx.xxxx.x..x"
            .chars()
            .map(|probe| row.next(probe == '.', &spec))
            .collect();
        let mut expected = vec![None; 12];
        expected[5] = Some(false);
        expected[10] = Some(true);
        assert_eq!(changes, expected);
    }
}
