/* How fast heads are read, and how fast the server answers.
 *
 *     bench_http            both, printed
 *     bench_http serve      serves a small answer on a free port of 127.0.0.1, prints the port and
 *                           ends when its standard input does (for tests/bench/http)
 *
 * One process is the server, the other sends: so the second figure is that of one core serving,
 * where the machine has two to spare. */

#include "base/buf.h"
#include "http/http1.h"
#include "http/server.h"
#include "sys/clock.h"
#include "sys/loop.h"
#include "sys/sock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Heads */

static const char api_head[] = "POST /v1/chat/completions HTTP/1.1\r\n"
                               "Host: 127.0.0.1:8000\r\n"
                               "Authorization: Bearer sk-0123456789abcdef0123456789abcdef\r\n"
                               "Content-Type: application/json\r\n"
                               "Accept: application/json\r\n"
                               "User-Agent: OpenAI/Python 1.60.0\r\n"
                               "Content-Length: 512\r\n"
                               "Accept-Encoding: gzip, deflate\r\n"
                               "Connection: keep-alive\r\n\r\n";

static const char browser_head[] =
    "GET /api/models?limit=20&sort=name HTTP/1.1\r\n"
    "Host: citadel.example.internal:8000\r\n"
    "Connection: keep-alive\r\n"
    "Cache-Control: max-age=0\r\n"
    "sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\n"
    "sec-ch-ua-mobile: ?0\r\n"
    "sec-ch-ua-platform: \"Linux\"\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0.0.0 Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
    "\r\n"
    "Sec-Fetch-Site: none\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-User: ?1\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    "Cookie: session=0a1b2c3d4e5f60718293a4b5c6d7e8f9; theme=dark; tz=Europe%2FBerlin\r\n\r\n";

/* The best of many short runs: what the machine's other work took away is not ours. */
static void
measure_head(const char *name, const char *text, size_t len, size_t step)
{
    enum { HEADS = 20000, RUNS = 40 };
    static struct http1_head head;
    double best_us = 1e9;
    for (int run = 0; run < RUNS; run++) {
        uint64_t start_us = clock_now_us();
        for (int i = 0; i < HEADS; i++) {
            size_t at = 0;
            http1_request_init(&head, &http_server_config_default.head);
            while (http1_head_read(&head, text, at = MIN(at + step, len)) == HTTP1_MORE)
                ;
        }
        best_us = MIN(best_us, (double)(clock_now_us() - start_us));
    }
    assert(head.reason == HTTP1_NONE && head.len == len);
    (void)printf("%-32s %4zu bytes %3u fields %10.0f heads/s %7.0f MB/s\n", name, len,
                 head.field_count, HEADS / best_us * 1e6, HEADS / best_us * (double)len);
}

/* Server */

static const char small_answer[] = "{\"id\":\"cmpl-0\",\"object\":\"text_completion\",\"choices\":"
                                   "[{\"index\":0,\"text\":\"Hello there.\"}]}\n";

static void
on_request(struct http_request *r)
{
    http_answer(r, 200, "application/json", small_answer, sizeof(small_answer) - 1);
}

struct serving {
    struct loop *loop;
    struct loop_fd input;
};

static void
on_input(struct loop_fd *watch, unsigned events unused_arg)
{
    char byte;
    struct serving *serving = container_of(watch, struct serving, input);
    if (read(STDIN_FILENO, &byte, 1) > 0)
        return;
    loop_fd_stop(watch);
    loop_stop(serving->loop);
}

static int
listen_somewhere(int *ret_port)
{
    struct sock_addr addr;
    int r = sock_addr_parse("127.0.0.1:0", &addr, NULL);
    int fd = r < 0 ? r : sock_listen(&addr, 0600, NULL);
    *ret_port = fd < 0 ? -1 : sock_bound_port(fd);
    return fd;
}

static int
serve(int listener)
{
    struct serving serving = {.input.ready = on_input};
    struct http_service service = {.request = on_request};
    int r = loop_new(&serving.loop, NULL);
    if (r < 0)
        return 1;
    struct http_server *server =
        http_server_new(serving.loop, &http_server_config_default, &service);
    r = http_server_listen(server, listener, NULL);
    if (r == 0)
        r = loop_fd_start(serving.loop, &serving.input, STDIN_FILENO, LOOP_READ);
    if (r == 0)
        loop_run(serving.loop);
    http_server_free(server);
    loop_free(serving.loop);
    return r < 0;
}

/* Clients: as many connections, each with one request under way. */

enum { CONNECTIONS = 32 };

static const char small_request[] = "GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

static bool
send_request(int fd)
{
    return send(fd, small_request, sizeof(small_request) - 1, MSG_NOSIGNAL) ==
           (ssize_t)sizeof(small_request) - 1;
}

static bool
open_connections(int port, struct pollfd *fds)
{
    struct sock_addr addr = {.family = AF_INET, .port = (uint16_t)port, .ip = {127, 0, 0, 1}};
    for (int i = 0; i < CONNECTIONS; i++) {
        fds[i] = (struct pollfd){.fd = sock_connect(&addr, NULL), .events = POLLOUT};
        if (fds[i].fd < 0 || poll(&fds[i], 1, 1000) != 1 || !send_request(fds[i].fd))
            return false;
        fds[i].events = POLLIN;
    }
    return true;
}

/* Answers are whole in one read: they are small, and written at once. */
static uint64_t
drive(struct pollfd *fds, uint64_t for_us)
{
    char bytes[4096];
    uint64_t answers = 0, until_us = clock_now_us() + for_us;
    while (clock_now_us() < until_us && poll(fds, CONNECTIONS, 1000) > 0) {
        for (int i = 0; i < CONNECTIONS; i++) {
            if (!fds[i].revents)
                continue;
            if (recv(fds[i].fd, bytes, sizeof(bytes), 0) <= 0 || !send_request(fds[i].fd))
                return 0;
            answers++;
        }
    }
    return answers;
}

static int
compare_rates(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int
measure_server(void)
{
    enum { RUNS = 7, RUN_US = 500000 };
    struct pollfd fds[CONNECTIONS];
    double rates[RUNS];
    int port, input[2];
    int listener = listen_somewhere(&port);
    if (listener < 0 || pipe(input) < 0)
        return 1;
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(input[0], STDIN_FILENO);
        (void)close(input[1]);
        _exit(serve(listener));
    }
    bool works = child > 0 && open_connections(port, fds);
    for (int i = 0; works && i < RUNS; i++) {
        rates[i] = (double)drive(fds, RUN_US) * 1e6 / RUN_US;
        works = rates[i] > 0;
    }
    (void)close(input[1]);
    (void)waitpid(child, NULL, 0);
    if (!works)
        return 1;
    qsort(rates, RUNS, sizeof(rates[0]), compare_rates);
    (void)printf("server: %d keep-alive connections, %zu bytes: median %.0f answers/s, best %.0f\n",
                 CONNECTIONS, sizeof(small_answer) - 1, rates[RUNS / 2], rates[RUNS - 1]);
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "serve") == 0) {
        int port, listener = listen_somewhere(&port);
        (void)printf("%d\n", port);
        (void)fflush(stdout);
        return listener < 0 ? 1 : serve(listener);
    }
    measure_head("API request, whole", api_head, sizeof(api_head) - 1, SIZE_MAX / 2);
    measure_head("browser request, whole", browser_head, sizeof(browser_head) - 1, SIZE_MAX / 2);
    measure_head("browser request, byte by byte", browser_head, sizeof(browser_head) - 1, 1);
    return measure_server();
}
