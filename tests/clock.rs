//! The clock jumps by days, between the commands and in the middle of them.
//!
//! A library that is loaded before all others gives the program another time than the machine has;
//! what it starts does not inherit it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use support::shop::{COUNT, Shop};
use support::trip::{Ran, Underway, finish};
use support::{as_server_user, say};

const DAY: i64 = 86_400;

/// Asks the kernel for the time and adds the seconds that stand in a file.
const SHIFTED: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    long seconds = 0;
    FILE *file;
    int failed = (int) syscall(SYS_clock_gettime, clock, time);

    if (failed || clock != CLOCK_REALTIME)
        return failed;
    file = fopen(getenv("CLOCK_SHIFT"), "r");
    if (file == NULL || fscanf(file, "%ld", &seconds) != 1)
        abort();
    fclose(file);
    time->tv_sec += seconds;
    return 0;
}
"#;

/// A clock of our own.
struct Clock {
    library: PathBuf,
    shift: PathBuf,
}

impl Clock {
    fn new(shop: &Shop) -> Self {
        let clock = Self {
            library: shop.flag("shifted.so"),
            shift: shop.flag("shift"),
        };
        support::compile(SHIFTED, &clock.library, &[]);
        clock.set(0);
        clock
    }

    /// So many seconds from the true time.
    fn set(&self, seconds: i64) {
        let draft = self.shift.with_extension("new");
        fs::write(&draft, seconds.to_string()).unwrap();
        fs::rename(draft, &self.shift).unwrap();
    }

    fn at(&self, mut command: Command) -> Command {
        command.env("LD_PRELOAD", &self.library);
        command.env("CLOCK_SHIFT", &self.shift);
        command
    }
}

/// A migration whose commands go by such a clock.
struct Journey {
    shop: Shop,
    clock: Clock,
}

impl Journey {
    fn new(mode: &str) -> Self {
        let shop = Shop::new("old-15", "new-17", mode);
        let clock = Clock::new(&shop);
        Self { shop, clock }
    }

    fn run(&self, words: &[&str]) -> Ran {
        finish(self.clock.at(self.shop.trip.command(words)))
    }

    fn prepare(&self) {
        let command = self.shop.trip.first_command(&["prepare"]);
        finish(self.clock.at(command)).demand(0);
    }

    /// A cutover that stands still there.
    fn frozen_at(&self, step: &str) -> Underway {
        let trip = &self.shop.trip;
        let cutover = || self.clock.at(trip.command(&["cutover"]));
        trip.frozen(("step_done", step), cutover, || {
            self.run(&["rollback"]).demand(0);
            self.prepare();
        })
    }

    /// Service was down for moments, whatever the clock says.
    fn demand_short_downtime(&self, really: Duration) {
        let end = self.shop.end();
        let down = end["downtime_seconds"].as_f64().unwrap();
        assert!(down > 0.0 && down < really.as_secs_f64() + 1.0, "{end}");
    }

    /// The days in which the events of this migration say that they happened.
    fn days(&self) -> Vec<String> {
        let day = |event: &serde_json::Value| event["time"].as_str().unwrap()[..10].to_owned();
        let mut days: Vec<_> = self.shop.trip.events().iter().map(day).collect();
        days.dedup();
        days
    }
}

#[test]
fn a_clock_that_jumps_between_and_in_commands() {
    as_server_user("a_clock_that_jumps_between_and_in_commands", || {
        for mode in ["copy", "link"] {
            let journey = Journey::new(mode);
            let shop = &journey.shop;
            let server = shop.serving_with(support::shop::QUIET);
            journey.clock.set(3 * DAY);
            journey.prepare();

            // Set back in between, and again while old is down.
            journey.clock.set(-10 * DAY);
            server.sql(
                "shop",
                "UPDATE item SET name = name || '!' WHERE id % 7 = 0",
            );
            let down = Instant::now();
            let cut = journey.frozen_at("stop-old-server");
            journey.clock.set(-20 * DAY);
            cut.go_on().demand(0);
            journey.demand_short_downtime(down.elapsed());
            drop(server);
            journey.run(&["verify"]).demand(0);
            assert!(journey.days().len() > 2, "{:?}", journey.days());

            // Forward while the way back and another try are under way.
            journey.clock.set(30 * DAY);
            journey.run(&["rollback"]).demand(0);
            assert_eq!(shop.in_old(COUNT), "1000 1000", "{mode}");
            journey.clock.set(-1);
            journey.prepare();
            let down = Instant::now();
            journey.frozen_at("stop-old-server").kill();
            journey.clock.set(40 * DAY);
            journey.run(&["resume"]).demand(0);
            journey.demand_short_downtime(down.elapsed());
            journey.clock.set(-40 * DAY);
            journey.run(&["verify"]).demand(0);
            for words in [&["status"][..], &["log"]] {
                journey.run(words).demand(0);
            }
            let sum = "SELECT count(*) FILTER (WHERE name LIKE '%!') FROM item";
            assert_eq!(shop.in_new(sum), "142", "{mode}");
            say(&format!(
                "TRIED 7 jumps of the clock between and in commands by {mode}"
            ));
        }
    });
}

/// Whoever waits waits as long as was said.
#[test]
fn waiting_goes_by_another_clock() {
    as_server_user("waiting_goes_by_another_clock", || {
        let journey = Journey::new("link");
        let server = journey.shop.prepared();
        let mut session = server.connect("shop");
        session.batch_execute("BEGIN; SELECT 1").unwrap();
        for days in [-30, 30] {
            journey.clock.set(0);
            let begun = Instant::now();
            let words = ["cutover", "--wait-idle", "2"];
            let mut cut = journey
                .shop
                .trip
                .begin(journey.clock.at(journey.shop.trip.command(&words)));
            assert!(cut.reaches("step_intended", "stop-old-server"));
            std::thread::sleep(Duration::from_millis(300));
            journey.clock.set(days * DAY);
            cut.wait().refused(5, "PGM-1213", &["idle in transaction"]);
            let took = begun.elapsed();
            // Who counts the jump waits less than was said, or for days.
            let waited = Duration::from_secs(2)..Duration::from_secs(100);
            assert!(waited.contains(&took), "{took:?}");
            say(&format!(
                "TRIED a jump of {days} days while somebody is waited for"
            ));
        }
        drop(session);
        journey.run(&["cutover"]).demand(0);
        assert_eq!(journey.shop.in_new(COUNT), "1000 1000");
        drop(server);
    });
}

/// Old was written to while the clock was ahead of now.
#[test]
fn files_and_locks_of_a_time_to_come_are_no_hindrance() {
    as_server_user("files_and_locks_of_a_time_to_come_are_no_hindrance", || {
        let journey = Journey::new("copy");
        let shop = &journey.shop;
        let server = shop.serving_with(support::shop::QUIET);
        server.sql("shop", "CHECKPOINT");
        let ahead = std::time::SystemTime::now() + Duration::from_secs(5 * 86_400);
        let dated = |dir: PathBuf| {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let times = fs::FileTimes::new().set_modified(ahead);
                    fs::File::open(path).unwrap().set_times(times).unwrap();
                }
            }
        };
        let databases = || {
            let base = fs::read_dir(shop.trip.old.join("base")).unwrap();
            base.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        };
        databases().into_iter().for_each(dated);
        journey.prepare();
        server.sql("shop", "UPDATE item SET name = name || '!'; CHECKPOINT");
        databases().into_iter().for_each(dated);
        dated(shop.trip.state());
        journey.run(&["cutover"]).demand(0);
        journey.run(&["verify"]).demand(0);
        drop(server);
        assert_eq!(
            shop.in_new("SELECT count(*) FROM item WHERE name LIKE '%!'"),
            "1000"
        );
        say("TRIED files of old and of the state directory of a time to come");
    });
}
