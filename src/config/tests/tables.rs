//! Listeners and mounts.

use super::*;

#[test]
fn listeners_have_settings_of_their_own() {
    let config = fine(LISTENERS, &[], &[]);
    let told: Vec<_> = config
        .binds
        .iter()
        .map(|bind| {
            (
                bind.address.clone(),
                bind.backlog,
                bind.socket_mode,
                bind.origin.to_string(),
            )
        })
        .collect();
    let at = |line| format!("ferricorn.toml:{line}");
    assert_eq!(
        told,
        [
            (
                Address::Tcp("127.0.0.1:1".parse().unwrap()),
                100,
                0o660,
                at(3)
            ),
            (Address::Unix("/a.sock".into()), 100, 0o660, at(3)),
            (Address::Abstract("b".into()), 200, 0o660, at(6)),
            (Address::Fd(3), 100, 0o600, at(10)),
        ]
    );
    let given: Vec<_> = config
        .conf
        .listeners
        .iter()
        .map(|listener| &listener.bind)
        .collect();
    assert_eq!(given, ["127.0.0.1:1", "unix:a.sock", "unix:@b", "fd://3"]);

    // The command line outranks the file, its tables included.
    let config = fine(LISTENERS, &[], &["--backlog", "7"]);
    assert!(config.binds.iter().all(|bind| bind.backlog == 7));
    let config = fine(LISTENERS, &[("FERRICORN_BIND", ":9")], &[]);
    assert_eq!(config.binds.len(), 1);
    // Where there are tables, neither the default nor PORT adds a listener.
    let config = fine("[[listen]]\nbind = \":1\"", &[("PORT", "5")], &[]);
    assert_eq!(config.binds.len(), 1);
    assert_eq!(config.binds[0].text, ":1");
}

#[test]
fn two_listeners_cannot_have_one_address() {
    let file = "bind = \":80\"\n[[listen]]\nbind = \"0.0.0.0:80\"";
    let message =
        "ferricorn.toml:3: bind: \"0.0.0.0:80\" is given twice, first at ferricorn.toml:1";
    assert_eq!(wrong(file, &[], &[]), [message]);
    assert_eq!(fine("", &[], &["-b", ":0", "-b", ":0"]).binds.len(), 2);
    let message = "ferricorn.toml:1: bind: expected at least one address";
    assert_eq!(wrong("bind = []", &[], &[]), [message]);
    let file = "bind = []\n[[listen]]\nbind = \":1\"";
    assert_eq!(fine(file, &[], &[]).binds.len(), 1);
    let message = "FERRICORN_BIND: expected at least one address";
    assert_eq!(wrong(file, &[("FERRICORN_BIND", ",")], &[]), [message]);
    let message = "ferricorn.toml:1: listen: expected tables [[listen]]";
    assert_eq!(wrong("listen = \":80\"", &[], &[]), [message]);
    assert_eq!(wrong("[listen]\nbind = \":80\"", &[], &[]), [message]);
}

#[test]
fn a_mount_of_files_takes_options() {
    let file = "[[mount]]\nprefix = \"/s\"\napp = \"static:/\"\nlisting = true\nrecheck = \"500ms\"\n\
                cache-control = \"no-cache\"\nmemory = \"1MiB\"\nprecompressed = [\"gzip\"]\n\
                [[mount]]\nprefix = \"/t\"\napp = \"echo\"\n\
                x-sendfile = [\"/tmp\", \"/in=/usr\"]";
    let config = fine(file, &[], &[]);
    let again = fine(&config.print(), &[], &[]);
    for config in [config, again] {
        let mount = &config.conf.mounts[0];
        assert_eq!(mount.app, "static:/");
        let told = mount.options.iter();
        let mut told: Vec<String> = told
            .map(|(name, values)| format!("{name}={}", values.join("|")))
            .collect();
        told.sort();
        let expected = [
            "cache-control=no-cache",
            "listing=true",
            "memory=1048576",
            "precompressed=gzip",
            "recheck=500",
        ];
        assert_eq!(told, expected);
        let places = [("x-sendfile", &["/tmp", "/in/=/usr"])];
        let places =
            places.map(|(name, places)| (name.to_owned(), places.map(str::to_owned).to_vec()));
        assert_eq!(config.conf.mounts[1].options, places);
    }
    let file = "[[mount]]\nprefix = \"/s\"\napp = \"static:/no-such-directory\"\n\
                listing = \"yes\"\nsymlinks = \"all\"\nindx = \"a\"\nrecheck = true\n\
                [[mount]]\nprefix = \"/t\"\napp = \"echo\"\nlisting = true";
    let expected = [
        "3: app: cannot use \"/no-such-directory\": No such file or directory (os error 2)",
        "4: listing: expected true or false, found \"yes\"",
        "5: symlinks: expected inside or owner or no, found \"all\"",
        "6: unknown setting \"indx\" in [[mount]]; did you mean \"index\"?",
        "7: recheck: expected a time such as 1 or \"500ms\", found true",
        "11: unknown setting \"listing\" in [[mount]]; expected one of prefix, app, timeout, x-sendfile",
    ];
    let expected = expected.map(|line| format!("ferricorn.toml:{line}"));
    assert_eq!(wrong(file, &[], &[]), expected);
}

#[test]
fn mounts() {
    let tables =
        "[[mount]]\nprefix = \"/\"\napp = \"echo\"\n[[mount]]\nprefix = \"/h\"\napp = \"hello\"";
    let list = "mount = [\"/h=hello\"]";
    for (file, variables, arguments, mounts) in [
        ("", &[][..], &[][..], "/=welcome"),
        ("", &[], &["hello"], "/=hello"),
        ("", &[], &["--mount", "/h=hello"], "/h=hello"),
        ("", &[], &["--mount", "/h=hello", "echo"], "/h=hello /=echo"),
        (tables, &[], &[], "/=echo /h=hello"),
        (tables, &[], &["welcome"], "/=welcome /h=hello"),
        (tables, &[], &["--mount", "/x=echo"], "/x=echo"),
        (list, &[], &[], "/h=hello"),
        ("mount = []", &[], &[], "/=welcome"),
        (list, &[("FERRICORN_APP", "echo")], &[], "/h=hello /=echo"),
        (
            "app = \"hello\"",
            &[("FERRICORN_MOUNT", "/a=echo,/b=echo")],
            &[],
            "/a=echo /b=echo /=hello",
        ),
        ("app = \"hello\"", &[], &["--mount", "/=echo"], "/=echo"),
    ] {
        let config = fine(file, variables, arguments);
        let told = config
            .conf
            .mounts
            .iter()
            .map(|mount| format!("{}={}", mount.prefix, mount.app));
        assert_eq!(
            told.collect::<Vec<_>>().join(" "),
            mounts,
            "{file} {arguments:?}"
        );
        let again = fine(&config.print(), &[], &[]);
        assert_eq!(config.conf.mounts.len(), again.conf.mounts.len());
    }
    let file = format!("app = \"hello\"\n{tables}");
    let message = "ferricorn.toml:1: mount: \"/\" is mounted twice, first at ferricorn.toml:2";
    assert_eq!(wrong(&file, &[], &[]), [message]);
}
