//! What proxies in front say of a connection or a request, and whom to believe it.

use ferricorn_base::ProxyVersions;
use ferricorn_base::trust::{ForwardedFields, MOST_HOPS, Underscores, XForwarded};

use super::{COMMON, Kind, Scope, Section, Setting, nearest};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "forwarded-allow-ips",
        kind: Kind::Networks(|config, networks| config.conf.trust.proxies = networks),
        default: "127.0.0.1,::1",
        variable: Some("FORWARDED_ALLOW_IPS"),
        doc: "Proxies that are believed whose requests they pass on.\n\n\
              IP addresses and networks such as 10.0.0.0/8, separated by commas, or * for \
              everybody, which is right only where nobody but the proxies can connect. Peers on a \
              unix socket are among them, too. Empty: nobody, not even those; a variable may be \
              empty as well.\n\n\
              From anybody else Forwarded, every X-Forwarded-* and the fields of \
              secure-scheme-headers are removed before a handler sees the request. Where the PROXY \
              protocol is spoken, the client that it names is the peer that has to be trusted, not \
              the proxy: a proxy of that kind passes these fields on as the client sent them. \
              Gunicorn looks at the proxy's address there.",
        ..HERE
    },
    Setting {
        name: "forwarded-fields",
        kind: Kind::Names(
            "x-forwarded-for, x-forwarded-proto, x-forwarded-host and x-forwarded-port, or some \
             of them, or forwarded",
            |config, names| {
                config.conf.trust.fields = forwarded_fields(names)?;
                Ok(())
            },
        ),
        default: "x-forwarded-for,x-forwarded-proto,x-forwarded-host,x-forwarded-port",
        doc: "The fields in which the proxies say whose request it is.\n\n\
              Name those that they write, whatever the client sent: some of x-forwarded-for, \
              x-forwarded-proto, x-forwarded-host and x-forwarded-port, or forwarded (RFC 7239) \
              alone, since two families could say two things. Other forwarding fields are removed \
              even when a proxy sends them, as it passes on what a client wrote. What is malformed \
              where it counts is answered 400. Empty: none.",
        ..HERE
    },
    Setting {
        name: "forwarded-hops",
        kind: Kind::Number {
            least: 1,
            most: MOST_HOPS as u64,
            set: |config, hops| config.conf.trust.hops = usize::try_from(hops).unwrap_or(1),
        },
        default: "1",
        doc: "How many proxies there are at most, one behind the other.\n\n\
              Each one appends to X-Forwarded-For or Forwarded who connected to it. The way back \
              begins at the right end, takes so many entries at most, and goes on only from an \
              address that is in forwarded-allow-ips. A list of schemes, hosts or ports is read at \
              the same place; a single one was written by the outermost proxy.",
        ..HERE
    },
    Setting {
        name: "secure-scheme-headers",
        kind: Kind::Fields(|config, fields| config.conf.trust.schemes = fields),
        default: "X-FORWARDED-PROTOCOL=ssl,X-FORWARDED-PROTO=https,X-FORWARDED-SSL=on",
        doc: "Fields in which a proxy says that a request came by https: NAME=VALUE.\n\n\
              Repeatable. In the file a list of such texts, or a table [secure-scheme-headers]. \
              From trusted proxies only: this very value is https, any other is http, and two \
              fields that disagree are answered 400. X-Forwarded-Proto may also be a list of http \
              and https, see forwarded-hops. Leave out what your proxies do not write, or clients \
              can write it. The default counts only where forwarded-fields has x-forwarded-proto.",
        ..HERE
    },
    Setting {
        name: "forwarder-headers",
        kind: Kind::Names("names of fields, or *", |config, names| {
            let token = |name: &&str| http::HeaderName::from_bytes(name.as_bytes()).is_ok();
            if let Some(odd) = names.iter().find(|name| !token(name)) {
                return Err(format!("\"{odd}\" is no name of a field"));
            }
            let names = names.iter().map(|name| (*name).to_owned());
            config.conf.trust.forwarder = names.collect();
            Ok(())
        }),
        default: "SCRIPT_NAME,PATH_INFO",
        doc: "Fields with an underscore in the name that trusted proxies may send.\n\n\
              Names, separated by commas, or * for all. SCRIPT_NAME and PATH_INFO become the \
              meta-variables of that name, when they are in the list. What else has an underscore \
              is a matter of header-map.",
        ..HERE
    },
    Setting {
        name: "header-map",
        kind: Kind::Choice(&["drop", "refuse", "dangerous"], |config, word| {
            config.conf.trust.underscores = match word {
                "refuse" => Underscores::Refuse,
                "dangerous" => Underscores::Keep,
                _ => Underscores::Drop,
            };
        }),
        default: "drop",
        doc: "What becomes of fields with an underscore in the name.\n\n\
              CGI and WSGI cannot tell X_Real_Ip from X-Real-Ip, and so a client could overwrite \
              what a proxy says. drop removes them, refuse answers 400, dangerous keeps them. This \
              holds for every handler.",
        ..HERE
    },
    Setting {
        name: "proxy-protocol",
        kind: Kind::Choice(&["off", "v1", "v2", "auto"], |config, word| {
            config.listener.proxy_protocol = match word {
                "v1" => Some(ProxyVersions::V1),
                "v2" => Some(ProxyVersions::V2),
                "auto" => Some(ProxyVersions::Auto),
                _ => None,
            };
        }),
        default: "off",
        scope: Scope::Listener,
        doc: "Whether connections begin with a PROXY header, and of which version.\n\n\
              From the peers in proxy-allow-from exactly one header is required, as the first bytes \
              and within head-timeout; from others none is expected, and one is answered 400 like \
              any malformed request. The client that it names is the peer of the connection from \
              then on. A header of version 2 has at most 4096 bytes. auto takes either version.",
        ..HERE
    },
    Setting {
        name: "proxy-allow-from",
        gunicorn: Some("proxy_allow_ips"),
        kind: Kind::Networks(|config, networks| config.listener.proxy_allow_from = networks),
        default: "127.0.0.1,::1",
        scope: Scope::Listener,
        doc: "Peers whose connections begin with a PROXY header.\n\n\
              As in forwarded-allow-ips. Without proxy-protocol it has no effect.",
        ..HERE
    },
];

const HERE: Setting = Setting {
    section: Section::Proxies,
    ..COMMON
};

/// The fields of these names, of one family.
fn forwarded_fields(names: &[&str]) -> Result<ForwardedFields, String> {
    const NAMES: [&str; 5] = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "forwarded",
    ];
    let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    if let Some(odd) = lower.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(match nearest(odd, NAMES.into_iter()) {
            Some(near) => format!("unknown forwarding field \"{odd}\"; did you mean \"{near}\"?"),
            None => format!(
                "unknown forwarding field \"{odd}\"; expected some of {}",
                NAMES.join(", ")
            ),
        });
    }
    let have = |name: &str| lower.iter().any(|other| other == name);
    let [client, proto, host, port, forwarded] = NAMES.map(have);
    let x = XForwarded {
        client,
        proto,
        host,
        port,
    };
    match (forwarded, x == XForwarded::default()) {
        (false, _) => Ok(ForwardedFields::X(x)),
        (true, true) => Ok(ForwardedFields::Rfc7239),
        (true, false) => Err(
            "forwarded together with x-forwarded-*: they could say two things; name the family \
             that the proxies write"
                .to_owned(),
        ),
    }
}
