#include "gateway/peer.h"

#include "tap.h"

#include <stdio.h>
#include <string.h>

TEST(peer_url_says_where_a_peer_is)
{
    static const struct {
        const char *url, *want; /* TLS IP HOST PORT AUTHORITY BASE; NULL: it is refused */
    } rows[] = {
        {"http://10.0.0.2:8000", "0 1 10.0.0.2 8000 10.0.0.2:8000 "},
        {"http://10.0.0.2:8000/", "0 1 10.0.0.2 8000 10.0.0.2:8000 "},
        {"http://gpu2.example:8000/v1", "0 0 gpu2.example 8000 gpu2.example:8000 "},
        {"http://gpu2.example/v1/", "0 0 gpu2.example 80 gpu2.example "},
        {"https://gpu2.example", "1 0 gpu2.example 443 gpu2.example "},
        {"http://h:1/llm/v1", "0 0 h 1 h:1 /llm"},
        {"http://h:1/llm", "0 0 h 1 h:1 /llm"},
        {"http://[2001:db8::1]:8000", "0 1 2001:db8::1 8000 [2001:db8::1]:8000 "},
        {"http://[2001:db8::1]", "0 1 2001:db8::1 80 [2001:db8::1] "},
        {"http://2001:db8::1", NULL},
        {"http://[10.0.0.2]:80", NULL},
        {"http://[h]:80", NULL},
        {"http://h:0", NULL},
        {"http://h:65536", NULL},
        {"http://h:", NULL},
        {"http://h:8x", NULL},
        {"http://:8000", NULL},
        {"http://h?x=1", NULL},
        {"http://h/a#b", NULL},
        {"http://me:secret@h", NULL},
        {"me:secret@h", NULL},
        {"http://h/a?key=secret", NULL},
        {"ftp://h", NULL},
        {"h:8000", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char got[600] = "";
        struct peer_url u;
        struct err err;
        tap_note("%s", rows[i].url);
        int r = peer_read_url("gateway.peers.p.url", rows[i].url, &u, &err);
        CHECK_EQ(r < 0, !rows[i].want);
        if (r < 0) {
            CHECK(strstr(err.what, "gateway.peers.p.url is '"));
            CHECK(!strstr(err.what, "secret"));
            continue;
        }
        (void)snprintf(got, sizeof(got), "%d %d %s %u %s %.*s", u.is_tls, u.is_ip, u.host, u.port,
                       u.authority, (int)u.base_len, u.base);
        CHECK_STR(got, rows[i].want);
    }
}
