"""What the server counts: each counter's name, and one line of help.

Rules:
- A counter only grows. It starts at 0 with the server, and with workers it is the sum of all
  processes.
- A name that ends in ``.*`` is a family: the counters behind it begin with the same word, a
  dot and a value. ``VALUES`` lists the values of a family where they are finite; any other
  family has numbers for values.
- Whoever counts something new writes its name here.
"""

from __future__ import annotations

COUNTERS: dict[str, str] = {
    "calls": "calls that began",
    "ended.*": "calls that ended, by reason",
    "lost_sockets": "sockets of calls that went away without `stop`; another one was waited for",
    "takeovers": "sockets that took over a call from its earlier socket",
    "start_missing": "sockets closed because `connected` or `start` did not come in time",
    "cut_ringing": "sockets closed because `start` did not come in time where no `auth_token` is"
    " set; they are in `start_missing`, too",
    "unanswered": "sockets that went away between `connected` and `start`: calls nobody answered",
    "odd_field": "values of a wrong type in messages of a stream, left out; the message was used",
    "stream_errors": "`error` messages from Telnyx",
    "own_messages": "messages of their own that processors sent by `call.send`",
    "forks": "forked calls that began; they are in `calls`, too",
    "processor_errors": "handlers and filters that raised",
    "recordings_stopped": "recordings that could not be written any more, as on a full disk",
    "bridge_lost": "connections to speech services that were lost, or could not be made; another"
    " try followed, or `bridge_down`",
    "bridge_down": "calls whose speech service was given up: no connection, or no answer",
    "bridge_refused": "calls whose speech service refused them: a wrong key, or a wrong model",
    "bridge_audio_dropped": "pieces of callers' audio that a speech service did not take in time",
    "bridge_odd": "messages of speech services that could not be read, left out",
    "recordings_with_gaps": "recordings that lack audio, because it could not be written in time",
    "recordings_not_converted": "recordings that stayed WAV, as there was no room for their format",
    "recordings_not_described": "recordings whose JSON file could not be written",
    "uploads_done": "recordings that were uploaded, with their JSON files",
    "uploads_failed": "recordings that a store refused or did not answer; tried again for an hour",
    "uploads_given_up": "recordings that could not be uploaded within an hour; they stay here",
    "budget_overruns": "times a filter repeatedly took longer for frames than `budget_ms`",
    "batch_late": "ticks of a batch processor dropped because the one before was still at work",
    "batch_dropped": "frames of calls that displaced windows a batch processor was too slow for",
    "loop_blocked": "times code held up the event loop for 0.1 s or more; the log names it",
    "loop_gc": "times a garbage collection held up the event loop for 0.1 s or more",
    "loop_starved": "times the process was ready to run and got no CPU for 0.1 s or more",
    "loop_stopped": "times the whole process stood still for 0.1 s or more",
    "lost_hosts": "calls whose processor host was lost; see `on_host_loss`",
    "abandoned_handlers": "handlers that did not end although they were cancelled",
    "abandoned_sources": "sources of plays that did not end although they were cancelled",
    "refused_token": "sockets or calls refused because their auth token was missing or wrong",
    "tokens.*": "streams by what their auth token was worth at their `start`",
    "refused_origin": "sockets refused because they came from a web page that is not in"
    " `allowed_origins`",
    "refused_source": "sockets refused because their address is not in `media_sources`",
    "refused_admin": "requests for admin pages refused: no right `admin_token`, or of a web page",
    "refused_requests": "HTTP connections closed because they brought too many requests a second",
    "live_viewers": "times somebody began to look at live calls, or at one, on the page `/live`",
    "listens": "times somebody began to listen in to a call; the log names the call",
    "recordings_fetched": "times somebody fetched a recording of an ended call; the log names the"
    " call",
    "listen_skipped": "pieces of audio that a listener did not get: their browser was too slow",
    "operator_messages": "texts that operators wrote to a call's processors",
    "operator_mutes": "times an operator muted a call's bot, or let it be heard again",
    "gave_way": "connections that had proven nothing and were closed for newer ones: too many",
    "no_descriptor": "connections that came when hardly any file descriptor was left",
    "no_pong": "sockets whose peer answers no pings",
    "refused_path": "sockets refused because no route has the name behind `/media/`",
    "parameter_ignored": "`param_NAME` values of calls that no `allow` names, left out",
    "refused_full": "sockets refused because `max_calls` were there",
    "refused_overload": "sockets or calls refused because there was too much to do, or too little"
    " memory: `shed_lag_ms`, `shed_memory_mb`",
    "overloads": "times the server began to have too much to do, or too little memory, for new"
    " calls",
    "refused_format": "calls refused because their format cannot be served",
    "refused_processor": "calls refused because they asked for a processor or parameter"
    " that they may not have",
    "refused_takeover": "sockets refused because their call was live on another socket",
    "refused_no_worker": "sockets or calls refused because no worker could take them",
    "refused_no_descriptor": "sockets refused, or lost on the way to their worker, because too"
    " many files were open",
    "lost_workers": "workers that died or were killed, and were replaced",
    "passed_on": "sockets given to the older generation of the server that has their call",
    "reloads": "times this server took over from an older generation",
    "reloads_failed": "reloads after which the same process served on; the log says why",
    "placed_again": "sockets given to another worker, because theirs hung or died before it"
    " took them",
    "lost_with_worker": "calls that ended because their worker died",
    "unanswered_queries": "questions for figures or calls that a worker did not answer within 1 s",
    "history_failed": "times the file of ended calls could not be written; see `history`",
    "history_lost": "records of ended calls that were lost: too many waited for the file",
    "webhook_not_told": "webhooks about a call that could not be passed on to its worker",
    "bad_request.*": "connections closed because they brought no sound HTTP request, by kind",
    "fork_refused.*": "UDP packets of forks that were refused, by kind",
    "refused.*": "messages of a stream that were refused, by kind",
    "closed.*": "sockets closed with another code than 1000 or 1001, by code; 1006: without one",
}

# Where a stream stands → what is out of place there, and which messages can be.
_MISPLACED = {
    "before_connected": ("before `connected`", ("media", "mark", "dtmf", "error", "stop")),
    "before_start": ("after `connected`, before `start`", ("connected", "media", "mark", "dtmf")),
    "repeated": ("a second time", ("connected", "start")),
    "after_stop": ("after `stop`", ("connected", "start", "media", "dtmf", "error", "stop")),
    "after_close": (
        "after the socket's end",
        ("connected", "start", "media", "mark", "dtmf", "error", "stop"),
    ),
}

VALUES: dict[str, dict[str, str]] = {
    "tokens.*": {
        "open": "let in: no `auth_token` is set",
        "shared": "let in by the shared secret itself",
        "per_call": "let in by a token of their own",
        "missing": "refused: they brought none",
        "unknown": "refused: it is none of ours",
        "expired": "refused: it expired before it was used",
        "other_call": "refused: it belongs to another call",
        "revoked": "refused: its call had ended",
    },
    "ended.*": {
        "stop": "Telnyx said `stop`, or reported the stream's end",
        "lost": "their socket went away, and none came in its place",
        "hangup": "hung up by their processor, or by the other side as a webhook said",
        "moved": "their stream goes on at another node; see `docs/cluster.md`",
        "processor": "a processor failed, and the settings end the call then",
        "max_call": "they lasted for `max_call_s`",
        "idle": "nobody was heard for `idle_s`",
        "shutdown": "the server ended",
        "worker": "their worker died; they are in `lost_with_worker`, too",
    },
    "bad_request.*": {
        "tls": "TLS, on this plain port",
        "plain_on_tls": "a plain request, on this port with TLS",
        "tls_handshake": "a TLS handshake that failed",
        "http2": "HTTP/2",
        "proxy_protocol": "a PROXY protocol header",
        "not_http": "no HTTP at all",
        "too_slow": "a head that did not come to its end within 5 s",
        "too_long": "a head longer than 16 KiB, or one line longer than 8 KiB, or over 100 fields",
        "request_line": "a malformed request line",
        "version": "another version than 1.0 and 1.1",
        "target": "a target that is no path",
        "octets": "a NUL or another control octet, or half a line end",
        "obs_fold": "a field over several lines",
        "field": "a malformed field",
        "host": "no `Host`, several, or a malformed one",
        "framing": "lengths of the body that contradict each other",
        "body": "an upgrade with a body",
    },
    "fork_refused.*": {
        "too_short": "shorter than an RTP header",
        "too_long": "longer than 8 KiB",
        "version": "neither RTP of version 2 nor STREP",
        "rtcp": "RTCP",
        "csrc": "a list of CSRCs longer than the packet",
        "extension": "a header extension longer than the packet",
        "padding": "more padding than there is payload, or none",
        "strep_version": "STREP of another version than 1",
        "strep_length": "a STREP header that is too short, or longer than the packet",
        "payload_type": "a payload type that means no codec here; see `fork_payload_types`",
        "not_allowed": "from an address that is not in `fork_from`",
        "unproven": "one packet of a stream of which no second one followed",
        "source": "from another address than the call's stream",
        "ssrc": "with another SSRC than the call's stream",
        "after_end": "of a call that has ended",
        "bad_payload": "a payload that its codec cannot decode",
        "too_much_audio": "a payload of more than 40 ms, where many seconds came at once",
        "too_many": "far more packets than a call has; the call was ended",
    },
    "refused.*": {
        "not_json": "not JSON",
        "too_deep": "nested too deep",
        "not_object": "JSON, but no object",
        "no_event": "without `event`",
        "unknown_event": "an `event` that Telnyx does not have",
        "bad_field": "a field is missing, or of the wrong type",
        "bad_base64": "a payload that is not base64",
        "bad_payload": "a payload that its codec cannot decode, or longer than `max_payload_s`",
        "too_long": "longer than a message of its kind can be",
        "too_much_audio": "a payload of more than 40 ms, where many seconds came at once",
        "too_many_media": "far more media messages than a call has; the socket was closed",
        "too_many_dtmf": "`dtmf` faster than anybody can press keys",
        "too_many_marks": "`mark` faster than any bot asks for them",
        "too_many_errors": "`error` more often than messages are sent",
        "too_many_behind_close": "far more behind the server's close frame than was under way",
        "binary": "a binary message; Telnyx sends text only",
        "wrong_stream_id": "the id of another stream",
        "start_before_connected": "`start` without `connected`; obeyed all the same",
        **{
            f"{message}_{where}": f"`{message}` {text}"
            for where, (text, messages) in _MISPLACED.items()
            for message in messages
        },
    },
}

# Of the webhook receiver, in a table of its own.
WEBHOOKS: dict[str, str] = {
    "accepted": "verified, and handed to handlers and calls",
    "duplicate": "delivered before; not handled again",
    "unsigned": "the signature fits no key, or is too old",
    "version_1": "of version 1, whose signature cannot be checked: set `webhook_api_version` to 2",
    "malformed": "signed, but no event",
    "wrong_method": "came by another method than POST",
    "busy": "refused because too many handlers were at work",
    "unread": "the body came too slowly, or not to its end",
    "too_big": "the body was too long",
    "forwarded": "verified by another node of the cluster, and new here",
    "handler_failed": "handlers that raised; counted beside the delivery",
}


def help_of(name: str) -> str | None:
    """One line about a counter of the server; None if there is no such counter.

    Args:
        name: ``calls``, ``refused.not_json``, ``closed.1006``, …; or a family, ``closed.*``.
    """
    if name in COUNTERS:
        return COUNTERS[name]
    family, _, value = name.partition(".")
    family += ".*"
    if family in VALUES:
        return VALUES[family].get(value)
    return COUNTERS.get(family) if value.isdecimal() else None
