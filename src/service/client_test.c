#include "service/client.h"

#include "base/mem.h"
#include "service/direct.h"
#include "sys/loop.h"
#include "sys/sock.h"
#include "tap.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- supervisors ---- */

static void
serve(int listener, const char *answer)
{
    char request[4096];
    struct pollfd fd = {.fd = listener, .events = POLLIN};
    (void)poll(&fd, 1, -1);
    int c = sock_accept(listener, NULL);
    fd.fd = c;
    (void)poll(&fd, 1, -1);
    if (c < 0 || read(c, request, sizeof(request)) <= 0 ||
        write(c, answer, strlen(answer)) != (ssize_t)strlen(answer))
        _exit(1);
    _exit(0);
}

static int
ask_one_that_answers(const char *answer, struct service_view *ret_view, struct err *reterr)
{
    _cleanup_free_ char *address = mem_printf("unix:%s/" DIRECT_SOCKET_NAME, tap_dir());
    struct sock_addr addr;
    if (sock_addr_parse(address, &addr, NULL) < 0)
        abort();
    _cleanup_close_ int listener = sock_listen(&addr, 0600, NULL);
    pid_t child = fork();
    if (child == 0)
        serve(listener, answer);
    int r = service_view_read(tap_dir(), ret_view, reterr);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    return r;
}

#define OK "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
#define NO "HTTP/1.1 503 No\r\nConnection: close\r\n\r\n"
#define ONE(name, state)                                                                       \
    "{\"services\": [{\"name\": \"" name "\", \"kind\": \"model\", \"state\": \"" state "\", " \
    "\"since_us\": 1}]}"

static const struct {
    const char *answer;
    enum err_id id; /* ERR_NONE: it is understood */
    const char *what;
} answers[] = {
    {OK "{}", ERR_NONE, ""},
    {OK ONE("a", "ready"), ERR_NONE, ""},
    {OK ONE("a", "unheard-of"), ERR_HTTP_ANSWER, "not known here"},
    {OK ONE("../a", "ready"), ERR_HTTP_ANSWER, "not known here"},
    {OK "{\"services\": [1]}", ERR_HTTP_ANSWER, "not known here"},
    {OK "[", ERR_SYNTAX, ""},
    {NO "{\"id\": \"service.busy\", \"what\": \"too many\"}", ERR_SERVICE_BUSY, "too many"},
    {NO "{\"id\": \"of.another-release\", \"what\": \"odd\"}", ERR_HTTP_ANSWER, "odd"},
    {NO "what?", ERR_HTTP_ANSWER, "the supervisor answered 503"},
    {"220 mail\r\n", ERR_HTTP_ANSWER, ""},
    {"", ERR_HTTP_CUT, ""},
};

TEST(what_a_supervisor_answers_is_understood_or_refused)
{
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        _cleanup_service_view_ struct service_view view = {0};
        struct err err = {0};
        tap_note("%s", answers[i].answer);
        int r = ask_one_that_answers(answers[i].answer, &view, &err);
        CHECK_EQ(r < 0, answers[i].id != ERR_NONE);
        CHECK_EQ(err.id, answers[i].id);
        CHECK(strstr(err.what, answers[i].what) != NULL);
    }
}

TEST(nobody_there_is_told_with_the_place)
{
    struct service_view view;
    struct err err = {0};
    char want[600];
    (void)snprintf(want, sizeof(want), "no supervisor answers at %s/control.sock", tap_dir());
    CHECK_EQ(service_view_read(tap_dir(), &view, &err), -ECONNREFUSED);
    CHECK_EQ(err.id, ERR_SERVICE_DOWN);
    CHECK_STR(err.what, want);
    CHECK_STR(err.fix, "citadel up");
}

/* ---- the real one ---- */

static void
on_ended(void *arg)
{
    loop_stop(arg);
}

/* A supervisor of two services, in a process of its own, until POST /stop. */
static void
supervise(int tell)
{
    static const char *const argv[] = {SERVICE_STUB_PATH, "ready", "wait", NULL};
    _cleanup_free_ char *log = mem_printf("%s/a.log", tap_dir());
    struct service services[] = {
        {.name = "a", .kind = "model", .argv = argv, .log_path = log, .wanted = true},
        {.name = "b", .kind = "model", .argv = argv, .log_path = log}};
    struct loop *loop;
    struct direct *direct;
    services[0].stop_us = services[1].stop_us = 10000000;
    services[0].budget = services[1].budget = (struct budget){.burst = 1, .start_us = 60000000};
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || loop_new(&loop, NULL) < 0)
        _exit(1);
    const struct direct_config config = {.run_dir = tap_dir(),
                                         .contain = CONTAIN_SUBREAPER,
                                         .services = services,
                                         .count = 2,
                                         .ended = on_ended,
                                         .arg = loop};
    if (direct_new(loop, &config, &direct, NULL) < 0)
        _exit(2);
    direct_start(direct);
    (void)!write(tell, "", 1);
    loop_run(loop);
    direct_free(direct);
    loop_free(loop);
    _exit(0);
}

static enum service_state
wait_for(const char *name, enum service_state goal)
{
    for (int i = 0; i < 2000; i++) {
        _cleanup_service_view_ struct service_view view = {0};
        struct err err;
        if (service_view_read(tap_dir(), &view, &err) < 0) {
            tap_fail(__FILE__, __LINE__, "%s", err.what);
            break;
        }
        const struct service_seen *s = service_view_find(&view, name);
        if (s && s->status.state == goal)
            return goal;
        (void)poll(NULL, 0, 5);
    }
    return SERVICE_STATE_COUNT;
}

TEST(services_are_started_and_stopped_from_another_process)
{
    struct service_view view = {0};
    struct err err = {0};
    int ends[2], status;
    char c;
    REQUIRE(pipe(ends) == 0 && tap_dir()); /* made here: it is the child's too */
    pid_t child = fork();
    if (child == 0)
        supervise(ends[1]);
    (void)close(ends[1]);
    REQUIRE(read(ends[0], &c, 1) == 1);
    (void)close(ends[0]);
    CHECK_EQ(wait_for("a", SERVICE_READY), SERVICE_READY);
    CHECK_EQ(wait_for("b", SERVICE_STOPPED), SERVICE_STOPPED);
    CHECK_EQ(service_ask(tap_dir(), "b", "start", &err), 0);
    CHECK_EQ(wait_for("b", SERVICE_READY), SERVICE_READY);
    CHECK_EQ(service_ask(tap_dir(), "c", "start", &err), -ENOENT);
    CHECK_EQ(err.id, ERR_SERVICE_NONE);
    CHECK_EQ(service_ask(tap_dir(), "all", "stop", &err), 0);
    CHECK_EQ(wait_for("a", SERVICE_STOPPED), SERVICE_STOPPED);
    REQUIRE(service_view_read(tap_dir(), &view, &err) == 0);
    CHECK_EQ(view.pid, child);
    CHECK_STR(view.containment, "subreaper");
    service_view_ask(&view, tap_dir(), NULL); /* there is no shim to answer */
    CHECK(!view.items.items[0].has_run && !view.items.items[0].silent);
    service_view_finish(&view);
    (void)kill(child, SIGKILL); /* nothing runs below it any more */
    CHECK_EQ(waitpid(child, &status, 0), child);
}
