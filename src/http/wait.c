#include "http/wait.h"

static void on_timer(struct loop_timer *timer);

void
waits_init(struct waits *waits, struct loop *loop, struct wait_list *lists, size_t count,
           void (*expired)(struct waits *waits, struct wait *wait))
{
    *waits = (struct waits){.loop = loop,
                            .lists = lists,
                            .count = count,
                            .expired = expired,
                            .timer.expired = on_timer};
}

void
waits_finish(struct waits *waits)
{
    loop_timer_stop(&waits->timer);
    waits->due_us = 0;
}

static void
unlink_wait(struct wait *wait)
{
    if (!wait->list)
        return;
    *(wait->previous ? &wait->previous->next : &wait->list->first) = wait->next;
    *(wait->next ? &wait->next->previous : &wait->list->last) = wait->previous;
    wait->list = NULL;
}

static void
arm(struct waits *waits, uint64_t due_us, uint64_t now_us)
{
    if (waits->due_us && waits->due_us <= due_us)
        return;
    waits->due_us = due_us;
    loop_timer_start(waits->loop, &waits->timer, due_us > now_us ? due_us - now_us : 0, 0);
}

void
wait_begin(struct waits *waits, struct wait_list *list, struct wait *wait)
{
    unlink_wait(wait);
    *wait =
        (struct wait){.list = list, .previous = list->last, .since_us = loop_now_us(waits->loop)};
    *(list->last ? &list->last->next : &list->first) = wait;
    list->last = wait;
    if (list->limit_us)
        arm(waits, wait->since_us + list->limit_us, wait->since_us);
}

static bool
may_expire(const struct waits *waits)
{
    for (size_t i = 0; i < waits->count; i++)
        if (waits->lists[i].limit_us && waits->lists[i].first)
            return true;
    return false;
}

/* With nothing left the timer goes, so that the loop may end. While there is something, it stays
 * as it is: moving it for every wait that ends would cost more than waking up once in vain. */
void
wait_end(struct waits *waits, struct wait *wait)
{
    unlink_wait(wait);
    if (!may_expire(waits))
        waits_finish(waits);
}

static void
arm_first(struct waits *waits)
{
    uint64_t now_us = loop_now_us(waits->loop);
    for (size_t i = 0; i < waits->count; i++) {
        struct wait_list *list = &waits->lists[i];
        if (list->limit_us && list->first)
            arm(waits, list->first->since_us + list->limit_us, now_us);
    }
}

void
waits_limits_changed(struct waits *waits)
{
    waits_finish(waits);
    arm_first(waits);
}

static void
on_timer(struct loop_timer *timer)
{
    struct waits *waits = container_of(timer, struct waits, timer);
    uint64_t now_us = loop_now_us(waits->loop);
    waits->due_us = 0;
    for (size_t i = 0; i < waits->count; i++) {
        struct wait_list *list = &waits->lists[i];
        while (list->limit_us && list->first && now_us - list->first->since_us >= list->limit_us)
            waits->expired(waits, list->first);
    }
    arm_first(waits);
}
