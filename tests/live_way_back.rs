//! The way back to a server that was in use: it serves again, with every row it ever confirmed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use support::application::{Application, Book};
use support::shop::{COUNT, QUIET, Shop};
use support::trip::{Underway, finish};
use support::{Running, as_server_user};

const MODES: [&str; 3] = ["link", "copy", "swap"];
/// Something old was started with and would not have by itself.
const OWN: &[&str] = &["work_mem=7MB", "cluster_name=the old one"];

/// The application of a shop, which goes on after each stop of the server.
struct Used<'a> {
    shop: &'a Shop,
    _server: Running<'a>,
    book: Book,
    at_work: Option<Application>,
}

impl<'a> Used<'a> {
    /// Prepared, with the application at work.
    fn new(shop: &'a Shop) -> Self {
        let settings = [QUIET, OWN].concat();
        let server = shop.serving_with(&settings);
        Application::make(&server, "shop");
        shop.trip.prepare();
        let mut used = Self {
            shop,
            _server: server,
            book: Book::default(),
            at_work: None,
        };
        used.go_on();
        used
    }

    fn go_on(&mut self) {
        let first = self.book.committed.len() + self.book.unknown.len();
        let first = i64::try_from(first).unwrap() + 1;
        let application = Application::begin(self.shop.old.scratch(), "shop", first);
        application.goes_on(20);
        self.at_work = Some(application);
    }

    /// Its server went, or will not be asked any more.
    fn pause(&mut self) {
        let book = self.at_work.take().unwrap().end();
        self.book = std::mem::take(&mut self.book).and(book);
    }

    /// Old serves as it did before, and holds every row.
    fn demand_served(&mut self, after: &str) {
        if self.at_work.is_some() {
            self.pause();
        }
        assert_eq!(self.shop.in_old("SHOW work_mem"), "7MB", "{after}");
        assert_eq!(self.shop.in_old("SHOW cluster_name"), "the old one");
        assert_eq!(self.shop.in_old(COUNT), "1000 1000", "{after}");
        self.book.demand_kept_by(&mut self.shop.session(), after);
        self.go_on();
    }

    fn prepare(&mut self) {
        self.pause();
        self.shop.trip.prepare();
        self.go_on();
    }

    /// A cutover that stands still behind this line of the journal.
    fn frozen_cutover(&mut self, kind: &str, step: &str) -> Underway {
        let trip = &self.shop.trip;
        let cutover = || trip.command(&["cutover"]);
        trip.frozen((kind, step), cutover, || {
            trip.rollback();
            self.demand_served("a cutover that was too quick");
            self.prepare();
        })
    }
}

/// Before: nobody notices. After: it was stopped, and is started again with its own options.
#[test]
fn before_and_after_the_cutover() {
    as_server_user("before_and_after_the_cutover", || {
        for mode in MODES {
            let shop = Shop::new("old-15", "new-17", mode);
            let mut used = Used::new(&shop);
            let process = shop.process();
            shop.trip.rollback();
            assert_eq!(shop.process(), process, "nobody stopped old");
            used.at_work.as_ref().unwrap().goes_on(20);
            used.demand_served("rollback of a prepare");

            shop.trip.prepare();
            shop.trip.cutover();
            used.pause();
            shop.trip.rollback();
            // Twice is once, and disturbs nobody.
            shop.trip.rollback();
            assert!(!shop.trip.new.exists());
            used.demand_served("rollback after the cutover");
            shop.trip.prepare();
            shop.trip.cutover();
            used.pause();
            let new = shop.trip.new_cluster();
            let server = new.start();
            used.book.demand_kept(&server, "shop");
            server.stop();
        }
    });
}

/// By copy also what new has served can be given up.
#[test]
fn after_new_has_served() {
    as_server_user("after_new_has_served", || {
        let shop = Shop::new("old-13", "new-17", "copy");
        let mut used = Used::new(&shop);
        shop.trip.cutover();
        used.pause();
        let new = shop.trip.new_cluster();
        let server = new.start();
        server.sql("shop", "INSERT INTO item (name) VALUES ('of new')");
        server.stop();
        shop.trip.run(&["rollback"]).refused(4, "PGM-2008", &[]);
        shop.trip
            .run(&["rollback", "--discard-new-writes"])
            .demand(0);
        used.demand_served("rollback of a new that has served");
    });
}

/// Where a crash leaves something else than the line of the journal before.
const MOMENTS: &[(&str, &str)] = &[
    ("step_intended", "stop-old-server"),
    ("step_done", "stop-old-server"),
    ("step_intended", "carry-transaction-state"),
    ("step_intended", "transfer-files"),
    ("step_intended", "release-new-cluster"),
    ("step_done", "release-new-cluster"),
];

fn killed_and_rolled_back(mode: &str, moments: &[(&str, &str)]) {
    let shop = Shop::new("old-15", "new-17", mode);
    let mut used = Used::new(&shop);
    for (kind, step) in moments {
        if (*kind, *step) == ("step_done", "release-new-cluster") {
            // Behind the last step it may have ended.
            let mut cut = shop.trip.begin(shop.trip.command(&["cutover"]));
            assert!(cut.reaches(kind, step));
            cut.dies();
        } else {
            used.frozen_cutover(kind, step).kill();
        }
        shop.trip.rollback();
        used.demand_served(&format!("killed at {kind} {step}, rolled back"));
        used.prepare();
    }
}

#[test]
fn killed_by_link_and_rolled_back() {
    as_server_user("killed_by_link_and_rolled_back", || {
        let retired = [
            ("step_intended", "retire-old-control"),
            ("step_done", "retire-old-control"),
        ];
        killed_and_rolled_back("link", &[MOMENTS, &retired].concat());
    });
}

#[test]
fn killed_by_copy_and_rolled_back() {
    as_server_user("killed_by_copy_and_rolled_back", || {
        killed_and_rolled_back("copy", &[MOMENTS[0], MOMENTS[3], MOMENTS[5]]);
    });
}

#[test]
fn killed_and_resumed() {
    as_server_user("killed_and_resumed", || {
        let shop = Shop::new("old-15", "new-17", "copy");
        let mut used = Used::new(&shop);
        // After the last of them there may be nothing left to resume.
        for (kind, step) in &MOMENTS[..MOMENTS.len() - 1] {
            used.frozen_cutover(kind, step).kill();
            finish(shop.trip.command(&["resume"])).demand(0);
            used.pause();
            let new = shop.trip.new_cluster();
            let server = new.start();
            used.book.demand_kept(&server, "shop");
            server.stop();
            shop.trip
                .run(&["rollback", "--discard-new-writes"])
                .demand(0);
            used.demand_served(&format!("killed at {kind} {step}, resumed"));
            used.prepare();
        }
    });
}

/// What keeps new from being put right is no reason for users to wait.
#[test]
fn old_serves_again_even_where_undoing_fails() {
    as_server_user("old_serves_again_even_where_undoing_fails", || {
        let shop = Shop::new("old-15", "new-17", "link");
        let mut used = Used::new(&shop);
        used.pause();
        shop.trip
            .frozen_cutover("step_done", "carry-transaction-state")
            .kill();
        // What is missing here has to be linked.
        std::fs::remove_file(a_link_in(&shop.trip.new.join("base"))).unwrap();
        let sealed: Vec<_> = std::fs::read_dir(shop.trip.new.join("base"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .chain([shop.trip.new.clone()])
            .collect();
        let seal = |mode| {
            for path in &sealed {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
            }
        };
        seal(0o500);
        let ran = finish(shop.trip.command(&["resume"]));
        seal(0o700);
        assert_eq!(ran.code, 6, "{}\n{}", ran.stdout, ran.stderr);
        assert!(
            ran.stderr.contains("its server is running"),
            "{}",
            ran.stderr
        );
        used.go_on();
        used.demand_served("a failed undoing");
        shop.trip.run(&["rollback"]).demand(0);
        used.demand_served("the way back after it");
    });
}

/// A file that new shares with old.
fn a_link_in(base: &Path) -> PathBuf {
    let databases = std::fs::read_dir(base).unwrap();
    let mut files = databases.flat_map(|one| std::fs::read_dir(one.unwrap().path()).unwrap());
    let shared = files.find(|file| file.as_ref().unwrap().metadata().unwrap().nlink() > 1);
    shared.unwrap().unwrap().path()
}
