"""Everything about a server that can be set."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_hex
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from mediaserver.conversion import KeyPath
from mediaserver.logs import Numbers
from mediaserver.settings.processors import ProcessorSetting, RouteSetting, Text

SECRETS = ("api_key", "auth_token", "admin_token", "listen_token", "log_numbers_key")
"""Settings whose values are shown nowhere."""
# A key that outlives the process is for the operator to set and to keep.
_KEY_OF_THIS_START = token_hex(16)

NonNegative = Annotated[float, Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set.

    Attributes:
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        tls_cert: file with the certificate and its chain, in PEM: the port speaks TLS, and a file
            that has changed is read again; None: it does not, as behind a proxy.
        tls_key: file with its key, in PEM, without a passphrase.
        public_url: how Telnyx reaches this server, ``https://…``.
        processors: the chain of every call that no route fits.
        routes: the chains of other calls, by path, called number or custom parameter; of those
            that fit, the first.
        offer: processors that a call may select by name, beside those of its chain.
        send_codec: codec of what goes into the call, unless the call says otherwise.
        send_rate: its rate in Hz; None is the codec's default.
        send_mode: ``rtp``, or ``mp3`` for whole files; as the stream was started.
        l16_byte_order: ``little``, ``big`` or ``auto``.
        amr_packing: how AMR-WB payloads are packed, or ``auto``.
        max_payload_s: how much audio one media message of the caller's may hold; longer ones are
            refused before they are decoded.
        chunk_numbering: whether chunk numbers count ``per_track``, ``shared``, or ``auto``;
            ``arrival`` ignores them.
        reorder_wait_ms: how long a gap waits for its chunk at first; then the wait follows
            what late chunks need, from 40 to 200 ms. 0 waits for none.
        lead_ms: how far ahead of the caller's ear audio is sent; None: at once.
        backlog_ms: most delay of live audio; what is older is dropped.
        catch_up: live audio that has been later than its jitter asks for leaves out a little of
            itself, quiet parts first, until it is not.
        poll_ms: how often arrivals are looked at while many come, which saves much work and
            delays them a little; 0 handles each by itself.
        play_ahead_s: how far ahead of the caller's ear iterators are pulled.
        keepalive: send silence while nothing plays.
        workers: processes that carry the calls; 1: the server itself does.
        worker_hung_s: a worker that gives no sign of life for so long is killed and replaced. It
            gets no new calls after a second.
        on_parent_loss: when the server's main process dies, its workers carry their calls to
            their end (``finish``), or end them at once (``end``).
        auth_token: what a stream must present; None admits all.
        admin_token: what a request for an admin page (metrics, calls) must present as
            ``Authorization: Bearer TOKEN``; None: the pages are on ``admin_port`` or nowhere.
        listen_token: as ``admin_token``, and with it one may also listen in to calls, take part in
            them and hear recordings of ended ones on the page ``/live``; None: nobody may.
        admin_host: address of the admin pages' own port.
        admin_port: TCP port of the admin pages, apart from the media port; 0 takes a free one;
            None: they are on the media port where there is an ``admin_token``.
        allowed_origins: web pages that may connect, as ``https://app.example.com``; others are
            refused. What is no browser has no origin, and is not concerned.
        trusted_proxies: networks of proxies in front of this server, whose ``X-Forwarded-For``
            says who connects.
        media_sources: networks that media may come from, others get 403; ``telnyx`` stands for
            those that Telnyx published by November 2026. Its newer sites are in no list, so a
            stream from there would be refused: prefer ``auth_token``. None given: from anywhere.
        max_calls: calls at once; more are refused, with 503 or 1013.
        shed_lag_ms: where the event loop that would carry a new call has been later than this for
            most of a second, new calls get 503 until it has been in time for five, or a fifth of
            its calls have ended; so they do where it would work for 88 % of its time with one
            more (with fewer than 100 calls: has, for most of a second). With workers only if none
            of them is in time. Calls that run would stutter else. None: never.
        shed_memory_mb: the same where the server and all its processes have more memory in RAM than
            so many MiB, until it is a tenth less. None: never.
        connected_within_s: time from the upgrade to ``connected``, and to ``start`` for a socket
            without a right token where one is asked for.
        ping_every_s: between two pings on each media socket.
        ping_timeout_s: a peer that has answered pings before, and of which nothing has come for so
            long behind one, is gone; one that never answered is when nothing has come for 60 s.
        start_within_s: time from there to ``start``, where the auth token was right: a call that
            is dialled with a stream rings all the while, up to 600 s.
        start_without_token_s: the same where no ``auth_token`` is set, so that nobody holds
            sockets for long; where calls ring longer, set it higher.
        reconnect_grace_s: how long a call outlives its lost socket.
        handler_grace_s: how long handlers may run after their call.
        max_call_s: how long a call may last: an event, and five seconds later it is hung up;
            None: any time.
        idle_s: how long nobody may be heard, neither caller nor a play, before the same; None:
            any time.
        media_silent_s: how long no media may come on a socket that is up before a hint.
        drain_s: how long live calls may go on after SIGTERM; None: to their end.
        pid_file: a file that names the process that serves, for ``mediaserver reload``; None:
            none.
        drain_end: calls that are left then are hung up (``hangup``, where there is an API
            key) or stay up without a stream (``leave``).
        on_error: a processor that raised is bypassed (``bypass``), ends its call's stream
            (``end``), or hangs the call up (``hangup``); ``auto`` bypasses a filter, and hangs
            up when the last handler has failed.
        isolate: processors run in processes apart from the server, so that one that blocks or
            crashes harms only the calls beside it there.
        calls_per_host: calls that share such a process; 1 gives each call its own.
        host_memory_mb: memory such a process may have resident, in MiB, beyond what was loaded
            before it began; one that has more is
            replaced.
        host_silent_s: how long it may block; then it is replaced. Before its first frame it has
            at least 30 s, to load what it needs.
        host_env: names of variables of the environment that look like secrets and that such a
            process gets all the same.
        on_host_loss: a call whose process was lost gets a fresh chain (``restart``), at most
            three times a minute; or follows a word of ``on_error``.
        budget_ms: how long a filter may take for one frame.
        on_budget: a filter that repeatedly takes longer is named in the log (``warn``), or
            follows a word of ``on_error``.
        on_return: a call whose handlers have all returned goes on (``stay``) or is
            hung up (``hangup``).
        api_key: Telnyx API key for the control client.
        api_base_url: where the control client sends its commands.
        public_keys: Telnyx's public keys for webhooks, comma-separated for rotation.
        answer: answer incoming calls with a stream to this server.
        auto_restart: start a stream again that broke without anybody having stopped it.
        state_file: a SQLite file of the live calls, so that with ``auto_restart`` a server that
            was killed starts their streams again; None: none.
        history: a file of the calls that have ended, for ``mediaserver calls``: SQLite, or JSON
            lines where its name ends in ``.jsonl``; None: none.
        history_days: how long a call stays in it.
        history_mb: how large it may grow, in MiB; then the oldest calls go.
        fork_ports: UDP ports for forked media, as ``20000-20999``, two for each call; None: no
            fork is received.
        fork_host: the IP address that forks are sent to, as Telnyx reaches it; None: ``host``.
        fork_from: networks that a fork may come from; none named: it may come from anywhere.
        fork_payload_types: what payload types of RTP hold beyond 0, 8 and 9, as in SDP:
            ``{"96": "OPUS/48000"}``; None: nothing.
        fork_idle_s: a forked call of which nothing has come for so long has ended.
        allow_insecure: let plain http and ws leave this machine.
        log_level: ``debug``, ``info``, ``warning`` or ``error``.
        log_config: where the log goes, here and in workers: a TOML or JSON file, or a table, as
            Python's ``logging.config.dictConfig`` takes it; None: to stderr.
        log_format: ``text``, or ``json``: one object a line.
        log_numbers: telephone numbers in the log are shown (``full``), only their last two digits
            (``masked``), or a short text that is the same for the same number (``hash``).
        log_numbers_key: what ``hash`` is made with, so that it is the same in several servers and
            after a restart; None: a random one, new at each start.
    """

    def __repr__(self) -> str:
        """What was set, without secrets: what a processor is given may be one as well."""
        names = (n for n in self.__struct_fields__ if getattr(self, n) != _DEFAULTS[n])
        shown = (f"{name}={self._shown(name)}" for name in names)
        # Routes and processors may name numbers.
        return self.numbers.within(f"{type(self).__name__}({', '.join(shown)})")

    def _shown(self, name: str) -> str:
        value = getattr(self, name)
        if name in SECRETS:
            return "'…'"
        if name == "public_url":
            return repr(urlsplit(value)._replace(query="", fragment="").geturl())
        return repr(value)

    @property
    def numbers_key(self) -> str | None:
        """What hashes of telephone numbers are made with, if they are, in all processes."""
        return self.log_numbers_key or _KEY_OF_THIS_START if self.log_numbers == "hash" else None

    @property
    def numbers(self) -> Numbers:
        """How telephone numbers are written in the log."""
        return Numbers(self.log_numbers, self.numbers_key)

    @property
    def path_prefix(self) -> str:
        """The path of ``public_url``: a proxy may pass it on or take it away."""
        return urlsplit(self.public_url or "").path.rstrip("/")

    @property
    def path_names(self) -> frozenset[str]:
        """The names that may stand behind ``/media/``."""
        return frozenset(route.path for route in self.routes if route.path is not None)

    def named(self) -> Iterator[tuple[KeyPath, ProcessorSetting]]:
        """Every processor that is named in the settings, and where."""
        yield from ((("processors", n), each) for n, each in enumerate(self.processors))
        yield from ((("offer", n), each) for n, each in enumerate(self.offer))
        for at, route in enumerate(self.routes):
            for n, each in enumerate(route.processors):
                yield ("routes", at, "processors", n), each

    host: Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    tls_cert: Text | None = None
    tls_key: Text | None = None
    public_url: Text | None = None
    processors: tuple[ProcessorSetting, ...] = ()
    routes: tuple[RouteSetting, ...] = ()
    offer: tuple[ProcessorSetting, ...] = ()
    send_codec: Text = "PCMU"
    send_rate: Annotated[int, Meta(ge=8000, le=48000)] | None = None
    send_mode: Literal["rtp", "mp3"] = "rtp"
    l16_byte_order: Literal["little", "big", "auto"] = "little"
    amr_packing: Literal["auto", "be", "oa", "storage"] = "auto"
    max_payload_s: Annotated[float, Meta(ge=0.12, le=30)] = 1.0
    chunk_numbering: Literal["auto", "per_track", "shared", "arrival"] = "auto"
    reorder_wait_ms: NonNegative = 60.0
    lead_ms: NonNegative | None = 200.0
    backlog_ms: NonNegative = 200.0
    catch_up: bool = True
    poll_ms: Annotated[float, Meta(ge=0, le=10)] = 2.0
    play_ahead_s: NonNegative = 1.0
    keepalive: bool = False
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    worker_hung_s: Annotated[float, Meta(ge=1.5)] = 4.0
    on_parent_loss: Literal["finish", "end"] = "finish"
    auth_token: Annotated[str, Meta(min_length=1, max_length=4000)] | None = None
    admin_token: Annotated[str, Meta(min_length=1, max_length=4000)] | None = None
    listen_token: Annotated[str, Meta(min_length=1, max_length=4000)] | None = None
    admin_host: Text = "127.0.0.1"
    admin_port: Annotated[int, Meta(ge=0, le=65535)] | None = None
    allowed_origins: tuple[Text, ...] = ()
    trusted_proxies: tuple[Text, ...] = ("127.0.0.0/8", "::1/128")
    media_sources: tuple[Text, ...] = ()
    max_calls: Annotated[int, Meta(ge=1)] = 1000
    shed_lag_ms: Annotated[float, Meta(gt=0)] | None = 50.0
    shed_memory_mb: Annotated[int, Meta(ge=1)] | None = None
    connected_within_s: Annotated[float, Meta(gt=0)] = 10.0
    start_within_s: Annotated[float, Meta(gt=0)] = 660.0
    start_without_token_s: Annotated[float, Meta(gt=0)] = 30.0
    ping_every_s: Annotated[float, Meta(gt=0)] = 10.0
    ping_timeout_s: Annotated[float, Meta(gt=0)] = 10.0
    reconnect_grace_s: NonNegative = 10.0
    handler_grace_s: NonNegative = 5.0
    max_call_s: Annotated[float, Meta(gt=0)] | None = None
    idle_s: Annotated[float, Meta(gt=0)] | None = None
    media_silent_s: Annotated[float, Meta(gt=0)] = 30.0
    drain_s: NonNegative | None = None
    pid_file: Text | None = None
    drain_end: Literal["hangup", "leave"] = "hangup"
    on_error: Literal["auto", "bypass", "end", "hangup"] = "auto"
    isolate: bool = False
    calls_per_host: Annotated[int, Meta(ge=1, le=1000)] = 8
    host_memory_mb: Annotated[int, Meta(ge=64)] = 1024
    host_silent_s: Annotated[float, Meta(ge=0.5)] = 5.0
    host_env: tuple[Text, ...] = ()
    on_host_loss: Literal["restart", "auto", "bypass", "end", "hangup"] = "restart"
    budget_ms: Annotated[float, Meta(gt=0)] = 5.0
    on_budget: Literal["warn", "auto", "bypass", "end", "hangup"] = "warn"
    on_return: Literal["stay", "hangup"] = "stay"
    api_key: Text | None = None
    api_base_url: Text = "https://api.telnyx.com/v2"
    public_keys: Text | None = None
    answer: bool = False
    auto_restart: bool = False
    state_file: str | None = None
    history: Text | None = None
    history_days: Annotated[float, Meta(gt=0)] = 30.0
    history_mb: Annotated[int, Meta(ge=1)] = 100
    fork_ports: Text | None = None
    fork_host: Text | None = None
    fork_from: tuple[Text, ...] = ()
    fork_payload_types: dict[str, str] | None = None
    fork_idle_s: Annotated[float, Meta(ge=1)] = 60.0
    allow_insecure: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_config: dict[str, Any] | None = None
    log_format: Literal["text", "json"] = "text"
    log_numbers: Literal["full", "masked", "hash"] = "masked"
    log_numbers_key: Text | None = None


_DEFAULTS = {each.name: each.default for each in msgspec.structs.fields(Settings)}
