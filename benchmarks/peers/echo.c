/* The floor with a protocol: what this work costs in C, in one thread with epoll.
 *
 * Takes a WebSocket upgrade, unmasks each text frame, walks through its JSON, decodes the payload
 * from base64 and mu-law to int16, encodes it again, and sends it back as a media message. What a
 * media server does beside (order, pacing, marks, limits, metrics, processors) it does not.
 *
 *     cc -O2 -o echo echo.c && ./echo PORT
 *     ./echo time      nanoseconds of that work alone, for each frame that stands on standard input
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IN_BYTES = 16384, OUT_BYTES = 65536, MAX_EVENTS = 512 };

struct call {
    int fd, upgraded;
    size_t n_in, n_out;
    uint8_t in[IN_BYTES], out[OUT_BYTES];
};

static int16_t linear[256];
static uint8_t ulaw[65536];
static int8_t digit[256];
static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void make_tables(void) {
    for (int code = 0; code < 256; code++) {
        int c = ~code & 0xff, value = (((c & 15) << 3) + 132) << ((c & 0x70) >> 4);
        linear[code] = c & 0x80 ? 132 - value : value - 132;
    }
    for (int at = 0; at < 65536; at++) {
        int pcm = (int16_t)at, sign = pcm < 0 ? 0x80 : 0, exponent = 7;
        if (sign) pcm = -pcm;
        if (pcm > 32635) pcm = 32635;
        pcm += 132;
        for (int mask = 0x4000; !(pcm & mask) && exponent > 0; mask >>= 1) exponent--;
        ulaw[at] = ~(sign | exponent << 4 | (pcm >> (exponent + 3) & 15));
    }
    memset(digit, -1, sizeof digit);
    for (int at = 0; at < 64; at++) digit[(uint8_t)letters[at]] = at;
}

static size_t encode64(const uint8_t *from, size_t n, char *to) {
    char *begin = to;
    for (; n >= 3; n -= 3, from += 3) {
        *to++ = letters[from[0] >> 2];
        *to++ = letters[(from[0] & 3) << 4 | from[1] >> 4];
        *to++ = letters[(from[1] & 15) << 2 | from[2] >> 6];
        *to++ = letters[from[2] & 63];
    }
    if (n) {
        *to++ = letters[from[0] >> 2];
        *to++ = letters[(from[0] & 3) << 4 | (n == 2 ? from[1] >> 4 : 0)];
        *to++ = n == 2 ? letters[(from[1] & 15) << 2] : '=';
        *to++ = '=';
    }
    return to - begin;
}

static size_t decode64(const char *from, size_t n, uint8_t *to) {
    uint8_t *begin = to;
    uint32_t bits = 0;
    int n_bits = 0;
    for (; n && *from != '='; n--, from++) {
        int value = digit[(uint8_t)*from];
        if (value < 0) return 0;
        bits = bits << 6 | value;
        n_bits += 6;
        if (n_bits >= 8) *to++ = bits >> (n_bits -= 8);
    }
    return to - begin;
}

static void sha1_block(uint32_t *h, const uint8_t *block) {
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | block[4 * t + 1] << 16 | block[4 * t + 2] << 8 |
               block[4 * t + 3];
    for (int t = 16; t < 80; t++) {
        uint32_t x = w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16];
        w[t] = x << 1 | x >> 31;
    }
    for (int t = 0; t < 80; t++) {
        uint32_t f, k;
        if (t < 20) f = (b & c) | (~b & d), k = 0x5a827999;
        else if (t < 40) f = b ^ c ^ d, k = 0x6ed9eba1;
        else if (t < 60) f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
        else f = b ^ c ^ d, k = 0xca62c1d6;
        uint32_t next = (a << 5 | a >> 27) + f + e + k + w[t];
        e = d, d = c, c = b << 30 | b >> 2, b = a, a = next;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

/* The Sec-WebSocket-Accept of a key: 24 characters and the GUID, two blocks of SHA-1. */
static size_t accept_of(const char *key, char *to) {
    uint8_t text[128] = {0}, sum[20];
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    memcpy(text, key, 24);
    memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    text[60] = 0x80;
    text[126] = 60 * 8 >> 8, text[127] = 60 * 8 & 255;
    sha1_block(h, text), sha1_block(h, text + 64);
    for (int at = 0; at < 20; at++) sum[at] = h[at / 4] >> (24 - at % 4 * 8);
    return encode64(sum, 20, to);
}

/* Walks through a message; what stands at "payload", if "event" is "media". */
static const char *payload_of(const char *at, const char *end, size_t *n) {
    const char *payload = NULL, *key = NULL;
    size_t n_key = 0;
    int is_media = 0, behind_colon = 0;
    for (; at < end; at++) {
        if (*at == ':') behind_colon = 1;
        else if (*at == ',' || *at == '{') behind_colon = 0;
        if (*at != '"') continue;
        const char *text = ++at;
        while (at < end && *at != '"') at += *at == '\\' ? 2 : 1;
        size_t n_text = at - text;
        if (!behind_colon) {
            key = text, n_key = n_text;
        } else if (n_key == 7 && !memcmp(key, "payload", 7)) {
            payload = text, *n = n_text;
        } else if (n_key == 5 && !memcmp(key, "event", 5)) {
            is_media = n_text == 5 && !memcmp(text, "media", 5);
        }
    }
    return is_media ? payload : NULL;
}

static void put(struct call *call, const void *from, size_t n) {
    if (call->n_out + n > OUT_BYTES) return;
    memcpy(call->out + call->n_out, from, n);
    call->n_out += n;
}

static void put_frame(struct call *call, int opcode, const void *body, size_t n) {
    uint8_t head[4] = {0x80 | opcode, n < 126 ? n : 126, n >> 8, n};
    put(call, head, n < 126 ? 2 : 4);
    put(call, body, n);
}

static void answer(struct call *call, const char *text, size_t n) {
    static const char open[] = "{\"event\":\"media\",\"media\":{\"payload\":\"", close[] = "\"}}";
    uint8_t octets[8192];
    int16_t pcm[8192];
    char reply[16384];
    size_t n_text = 0, n_octets, n_reply = sizeof open - 1;
    const char *payload = payload_of(text, text + n, &n_text);
    if (!payload || n_text > 8192) return;
    n_octets = decode64(payload, n_text, octets);
    for (size_t at = 0; at < n_octets; at++) pcm[at] = linear[octets[at]];
    for (size_t at = 0; at < n_octets; at++) octets[at] = ulaw[(uint16_t)pcm[at]];
    memcpy(reply, open, n_reply);
    n_reply += encode64(octets, n_octets, reply + n_reply);
    memcpy(reply + n_reply, close, sizeof close - 1);
    put_frame(call, 1, reply, n_reply + sizeof close - 1);
}

/* Takes the upgrade; octets used, 0: not all of it is there. */
static size_t upgrade(struct call *call) {
    char accept[32], reply[256];
    uint8_t *end = memmem(call->in, call->n_in, "\r\n\r\n", 4);
    if (!end) return 0;
    char *key = memmem(call->in, call->n_in, "Sec-WebSocket-Key: ", 19);
    if (!key) return 0;
    size_t n = accept_of(key + 19, accept);
    n = snprintf(reply, sizeof reply,
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: %.*s\r\n\r\n", (int)n, accept);
    put(call, reply, n);
    call->upgraded = 1;
    return end + 4 - call->in;
}

/* Takes one frame; octets used, 0: not all of it is there, -1: the call is over. */
static long take_frame(struct call *call, uint8_t *at, size_t left) {
    if (left < 6) return 0;
    size_t n = at[1] & 127, n_head = 6;
    if (n == 126) {
        if (left < 8) return 0;
        n = at[2] << 8 | at[3], n_head = 8;
    } else if (n == 127) {
        return -1;
    }
    if (left < n_head + n) return 0;
    uint8_t *mask = at + n_head - 4, *body = at + n_head;
    uint64_t wide;
    memcpy(&wide, mask, 4), memcpy((char *)&wide + 4, mask, 4);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t octets;
        memcpy(&octets, body + i, 8);
        octets ^= wide;
        memcpy(body + i, &octets, 8);
    }
    for (; i < n; i++) body[i] ^= mask[i & 3];
    int opcode = at[0] & 15;
    if (opcode == 1) answer(call, (char *)body, n);
    else if (opcode == 8) put_frame(call, 8, body, n);
    else if (opcode == 9) put_frame(call, 10, body, n);
    return n_head + n;
}

static int flush(struct call *call, int epoll) {
    ssize_t n = call->n_out ? write(call->fd, call->out, call->n_out) : 0;
    if (n < 0 && errno != EAGAIN) return -1;
    if (n > 0) {
        call->n_out -= n;
        memmove(call->out, call->out + n, call->n_out);
    }
    static int waits[65536];
    int wants = call->n_out > 0;
    if (wants != waits[call->fd & 65535]) {
        struct epoll_event event = {EPOLLIN | (wants ? EPOLLOUT : 0), {.ptr = call}};
        epoll_ctl(epoll, EPOLL_CTL_MOD, call->fd, &event);
        waits[call->fd & 65535] = wants;
    }
    return 0;
}

static int serve(struct call *call, int epoll, uint32_t what) {
    if (what & EPOLLIN) {
        ssize_t n = read(call->fd, call->in + call->n_in, IN_BYTES - call->n_in);
        if (n == 0 || (n < 0 && errno != EAGAIN)) return -1;
        size_t at = 0;
        call->n_in += n > 0 ? n : 0;
        for (long used = 1; used && at < call->n_in; at += used) {
            used = call->upgraded ? take_frame(call, call->in + at, call->n_in - at)
                                  : (long)upgrade(call);
            if (used < 0) return -1;
        }
        call->n_in -= at;
        memmove(call->in, call->in + at, call->n_in);
    } else if (what & (EPOLLHUP | EPOLLERR)) {
        return -1;
    }
    return flush(call, epoll);
}

/* The work without sockets: masked frames on standard input, each behind its length (4 octets). */
static int time_work(void) {
    enum { ROUNDS = 200 };
    static uint8_t frames[1 << 20], scratch[IN_BYTES];
    static struct call call;
    size_t n = fread(frames, 1, sizeof frames, stdin), n_frames = 0;
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int round = 0; round < ROUNDS; round++)
        for (size_t at = 0; at + 4 <= n; n_frames++) {
            uint32_t size;
            memcpy(&size, frames + at, 4);
            memcpy(scratch, frames + at + 4, size);
            call.n_out = 0;
            if (take_frame(&call, scratch, size) <= 0 || !call.n_out) return 1;
            at += 4 + size;
        }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double ns = (end.tv_sec - begin.tv_sec) * 1e9 + end.tv_nsec - begin.tv_nsec;
    return printf("%.1f\n", ns / n_frames) < 0;
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: %s PORT\n", argv[0]), 2;
    make_tables();
    if (!strcmp(argv[1], "time")) return time_work();
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&where, sizeof where) || listen(listener, 1024))
        return perror("cannot listen"), 1;
    int epoll = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.ptr = NULL}}, events[MAX_EVENTS];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(epoll, events, MAX_EVENTS, -1);
        for (int at = 0; at < n; at++) {
            struct call *call = events[at].data.ptr;
            if (call) {
                if (serve(call, epoll, events[at].events) < 0) close(call->fd), free(call);
                continue;
            }
            int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (fd < 0) continue;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            call = calloc(1, sizeof *call);
            call->fd = fd;
            event = (struct epoll_event){EPOLLIN, {.ptr = call}};
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        }
    }
}
