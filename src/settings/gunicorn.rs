//! Gunicorn's settings that have no counterpart here, each with a word for those who come with
//! one: not yet, not needed, or what to use.

const HOOKS: &str = "there are no hooks in the configuration; the program itself is the place";
const TLS: &str = "TLS is not available yet; put a proxy in front";
const HTTP2: &str = "HTTP/2 is not available yet";
const PYTHON: &str = "it belongs to Python";
const STRICT: &str = "the parser is strict, and there is no switch to make it less so";
const DIRTY: &str = "there is no separate pool for long tasks";
const CONTROL: &str = "the control socket has mode 0600; control-socket says where it is, or none";

/// Names with dashes, and the hint.
#[rustfmt::skip]
const ABSENT: &[(&[&str], &str)] = &[
    (&["reuse-port"], "workers share the master's sockets, so that a reload loses no connection"),
    (&["spew", "paste", "paster", "paste-global", "raw-paste-global-conf", "pythonpath"], PYTHON),
    (&["log-config", "log-config-json", "logconfig", "logconfig-dict", "logconfig-json",
       "logger-class"], "use log-level, error-logfile and access-logformat"),
    (&["capture-output", "enable-stdio-inheritance"], "standard output is left alone"),
    (&["protocol", "uwsgi-allow-from", "uwsgi-allow-ips"],
     "listeners for other protocols are not available yet"),
    (&["keyfile", "certfile", "ssl-version", "cert-reqs", "ca-certs", "ciphers",
       "suppress-ragged-eofs", "do-handshake-on-connect"], TLS),
    (&["http-protocols", "http2-cleartext", "http2-max-concurrent-streams",
       "http2-initial-window-size", "http2-max-frame-size", "http2-max-header-list-size"], HTTP2),
    (&["permit-obsolete-folding", "strip-header-spaces", "permit-unconventional-http-method",
       "permit-unconventional-http-version", "casefold-http-method", "http-parser"], STRICT),
    (&["asgi-loop", "asgi-lifespan", "asgi-disconnect-grace-period", "root-path"], PYTHON),
    (&["websocket-max-message-size"], "WebSockets belong to the application"),
    (&["tmp-upload-dir"], "use tmp-dir"),
    (&["default-proc-name"], "use proc-name"),
    (&["dirty-app", "dirty-apps", "dirty-workers", "dirty-timeout", "dirty-threads",
       "dirty-graceful-timeout", "on-dirty-starting", "dirty-post-fork", "dirty-worker-init",
       "dirty-worker-exit"], DIRTY),
    (&["control-socket-mode", "control-socket-disable", "no-control-socket"], CONTROL),
    (&["on-starting", "on-reload", "when-ready", "pre-fork", "post-fork", "post-worker-init",
       "worker-int", "worker-abort", "pre-exec", "pre-request", "post-request", "child-exit",
       "worker-exit", "nworkers-changed", "on-exit", "ssl-context"], HOOKS),
];

/// The hint for a name of Gunicorn's, written with dashes.
pub fn hint(name: &str) -> Option<&'static str> {
    ABSENT
        .iter()
        .find(|(names, _)| names.contains(&name))
        .map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_absent_is_a_setting() {
        for name in ABSENT.iter().flat_map(|(names, _)| names.iter()) {
            assert!(crate::settings::find(name).is_none(), "{name} is a setting");
        }
    }

    /// Every setting of Gunicorn 27, by its name in the file and by its options.
    #[rustfmt::skip]
    const ALL: &str = "\
         config wsgi_app bind backlog workers worker_class worker-class threads \
         worker_connections worker-connections max_requests max-requests max_requests_jitter \
         max-requests-jitter timeout graceful_timeout graceful-timeout keepalive keep-alive \
         limit_request_line limit-request-line limit_request_fields limit-request-fields \
         limit_request_field_size limit-request-field_size reload reload_engine reload-engine \
         reload_extra_files reload-extra-file spew check_config check-config print_config \
         print-config preload_app preload sendfile no-sendfile reuse_port reuse-port chdir daemon \
         raw_env env pidfile pid worker_tmp_dir worker-tmp-dir user group umask initgroups \
         tmp_upload_dir secure_scheme_headers forwarded_allow_ips forwarded-allow-ips accesslog \
         access-logfile disable_redirect_access_to_syslog disable-redirect-access-to-syslog \
         access_log_format access-logformat errorlog error-logfile log-file loglevel log-level \
         capture_output capture-output logger_class logger-class logconfig log-config \
         logconfig_dict logconfig_json log-config-json syslog_addr log-syslog-to syslog \
         log-syslog syslog_prefix log-syslog-prefix syslog_facility log-syslog-facility \
         enable_stdio_inheritance enable-stdio-inheritance statsd_host statsd-host dogstatsd_tags \
         dogstatsd-tags statsd_prefix statsd-prefix enable_backlog_metric enable-backlog-metric \
         proc_name name default_proc_name pythonpath paste paster on_starting on_reload \
         when_ready pre_fork post_fork post_worker_init worker_int worker_abort pre_exec \
         pre_request post_request child_exit worker_exit nworkers_changed on_exit ssl_context \
         proxy_protocol proxy-protocol proxy_allow_ips proxy-allow-from protocol uwsgi_allow_ips \
         uwsgi-allow-from keyfile certfile ssl_version ssl-version cert_reqs cert-reqs ca_certs \
         ca-certs suppress_ragged_eofs suppress-ragged-eofs do_handshake_on_connect \
         do-handshake-on-connect ciphers http_protocols http-protocols http2_cleartext \
         http2-cleartext http2_max_concurrent_streams http2-max-concurrent-streams \
         http2_initial_window_size http2-initial-window-size http2_max_frame_size \
         http2-max-frame-size http2_max_header_list_size http2-max-header-list-size \
         raw_paste_global_conf paste-global permit_obsolete_folding permit-obsolete-folding \
         strip_header_spaces strip-header-spaces permit_unconventional_http_method \
         permit-unconventional-http-method permit_unconventional_http_version \
         permit-unconventional-http-version casefold_http_method casefold-http-method \
         forwarder_headers forwarder-headers header_map header-map asgi_loop asgi-loop \
         asgi_lifespan asgi-lifespan asgi_disconnect_grace_period asgi-disconnect-grace-period \
         websocket_max_message_size websocket-max-message-size http_parser http-parser root_path \
         root-path dirty_apps dirty-app dirty_workers dirty-workers dirty_timeout dirty-timeout \
         dirty_threads dirty-threads dirty_graceful_timeout dirty-graceful-timeout \
         on_dirty_starting dirty_post_fork dirty_worker_init dirty_worker_exit control_socket \
         control-socket control_socket_mode control-socket-mode control_socket_disable \
         no-control-socket";

    #[test]
    fn every_setting_of_gunicorn_is_here_or_has_a_hint() {
        for name in ALL.split_whitespace() {
            let advice = crate::settings::advice(name);
            let told = advice.starts_with("; use \"") || advice.starts_with("; Gunicorn has it");
            assert!(told, "{name}: {advice}");
        }
    }
}
