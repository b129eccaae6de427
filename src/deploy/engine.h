#pragma once

/* The environment of vLLM that a generation runs in. It is no part of it: the generation names the
 * directory, and is worth nothing once that is gone or has become another release. */

#include "deploy/generation.h"
#include "plan/plan.h"

/* Of a plan.json, of which the rest is not looked at; texts "" where no model runs on vLLM, or it was
 * not known. They live in the arena. */
int deploy_engine_read(const char *json, size_t len, struct arena *arena, struct plan_engine *ret,
                       struct err *reterr) must_check;
int deploy_engine_of(const char *store, unsigned number, struct arena *arena,
                     struct plan_engine *ret, struct err *reterr) must_check;

/* GENERATION_ENGINE: what it ran in is gone, half there, or another release now. */
int deploy_engine_check(const char *store, unsigned number, struct err *reterr) must_check;
