/* GPUs and engines. */

#include "doctor/doctor_int.h"

#include "base/text.h"
#include "engine/engine.h"
#include "engine/version.h"
#include "gpu/nvml.h"
#include "plan/plan.h"
#include "run/wish.h"

#include <stdlib.h>
#include <unistd.h>

/* ---- GPUs ---- */

static bool
needs_gpus(const struct doctor *d)
{
    for (size_t i = 0; i < d->config->models.count; i++)
        if (d->config->models.items[i].enabled &&
            plan_gpus_of(&d->config->models.items[i], d->fake_driver) == PLAN_GPUS_ALWAYS)
            return true;
    return false;
}

void
doctor_check_driver(struct doctor *d)
{
    if (d->inventory)
        doctor_add(d, "", DOCTOR_HOLDS, "", "NVIDIA %s, %zu GPU%s", d->inventory->driver,
                   d->inventory->count, d->inventory->count == 1 ? "" : "s");
    else if (needs_gpus(d))
        doctor_add_err(d, "", d->driver_err);
    else
        doctor_add(d, "", DOCTOR_NOT_NEEDED, "", "no model needs one: %s", d->driver_err->what);
}

void
doctor_check_gpus(struct doctor *d)
{
    if (!d->inventory || d->inventory->count == 0) {
        doctor_add(d, "", needs_gpus(d) ? DOCTOR_UNKNOWN : DOCTOR_NOT_NEEDED,
                   needs_gpus(d) ? "nvidia-smi" : "", "there is none to be seen");
        return;
    }
    for (size_t i = 0; i < d->inventory->count; i++) {
        const struct gpu *gpu = &d->inventory->gpus[i];
        const char *subject = doctor_text(d, "%u", gpu->index);
        if (gpu->trouble == NVML_SUCCESS)
            doctor_add(d, subject, DOCTOR_HOLDS, "", "%s", gpu->name);
        else
            doctor_add(d, subject, DOCTOR_FAILS, doctor_text(d, "nvidia-smi -i %u -q", gpu->index),
                       "%s: %s", gpu->name, nvml_code_text(gpu->trouble));
    }
}

enum doctor_verdict
doctor_judge_persistence(enum config_switch wanted, struct gpu_value is)
{
    if (wanted == CONFIG_SWITCH_AUTO)
        return DOCTOR_NOT_NEEDED;
    if (!is.known)
        return DOCTOR_UNKNOWN;
    return (is.n != 0) == (wanted == CONFIG_SWITCH_ON) ? DOCTOR_HOLDS : DOCTOR_FAILS;
}

/* The mode of each GPU, whoever has set it: the daemon of the driver, or `citadel gpu`. */
void
doctor_check_persistence(struct doctor *d)
{
    const enum config_switch wanted = d->config->gpu.persistence;
    if (!d->inventory || wanted == CONFIG_SWITCH_AUTO) {
        doctor_add(d, "", DOCTOR_NOT_NEEDED, "", "%s",
                   d->inventory ? "gpu.persistence is auto: it stays as it is"
                                : "there is no GPU to be seen");
        return;
    }
    for (size_t i = 0; i < d->inventory->count; i++) {
        const struct gpu *gpu = &d->inventory->gpus[i];
        const char *subject = doctor_text(d, "%u", gpu->index);
        enum doctor_verdict verdict = doctor_judge_persistence(wanted, gpu->persistence);
        if (verdict == DOCTOR_UNKNOWN)
            doctor_add(d, subject, verdict, "nvidia-smi -q -d PERFORMANCE",
                       "the driver does not tell");
        else
            doctor_add(d, subject, verdict, verdict == DOCTOR_HOLDS ? "" : "citadel gpu optimize",
                       "persistence mode is %s%s", gpu->persistence.n ? "on" : "off",
                       verdict == DOCTOR_HOLDS ? ", as gpu.persistence says" : "");
    }
}

/* ---- vLLM ---- */

static bool
wants_vllm(struct doctor *d)
{
    size_t count = doctor_count_engine(d->config, CONFIG_ENGINE_VLLM);
    if (count == 0)
        doctor_add(d, "", DOCTOR_NOT_NEEDED, "", "no model runs on vLLM");
    return count > 0;
}

void
doctor_check_python(struct doctor *d)
{
    const char *env = d->config->paths.vllm_env;
    if (!wants_vllm(d))
        return;
    const char *python = doctor_text(d, "%s/bin/python3", env);
    if (access(python, X_OK) == 0)
        doctor_add(d, "", DOCTOR_HOLDS, "", "%s", python);
    else
        doctor_add(d, "", DOCTOR_FAILS, doctor_text(d, "python3 -m venv %s", env),
                   "%s cannot be run", python);
}

static void
check_package(struct doctor *d, bool required, const char *package)
{
    struct engine_version version;
    engine_version_text text;
    struct err err = {0};
    const char *env = d->config->paths.vllm_env;
    const char *subject = text_eq(package, d->check->id) ? "" : package;
    const char *remedy = doctor_text(d, "%s/bin/pip install %s", env, package);
    if (engine_version_find(env, package, &version, &err) == 0)
        doctor_add_as(d, required, subject, DOCTOR_HOLDS, "", engine_version_print(&version, text));
    else
        doctor_add_as(d, required, subject, DOCTOR_FAILS, remedy, err.what);
}

static bool
one_wants_no_risk(const struct doctor *d)
{
    for (size_t i = 0; i < d->config->models.count; i++) {
        const struct config_model *m = &d->config->models.items[i];
        if (m->enabled && m->engine == CONFIG_ENGINE_VLLM && !m->allow_insecure_version)
            return true;
    }
    return false;
}

void
doctor_check_vllm(struct doctor *d)
{
    struct engine_version version;
    struct err err = {0};
    if (!wants_vllm(d))
        return;
    if (engine_version_find(d->config->paths.vllm_env, "vllm", &version, NULL) == 0 &&
        engine_vllm_check(&version, &err) < 0 && one_wants_no_risk(d))
        doctor_add_err(d, "", &err);
    else
        check_package(d, true, "vllm");
}

void
doctor_check_packages(struct doctor *d)
{
    static const char *const required[] = {"torch", "transformers", "tokenizers", "fastapi"};
    static const char *const optional[] = {"huggingface_hub", "flashinfer_python"};
    if (!wants_vllm(d))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(required); i++)
        check_package(d, true, required[i]);
    for (size_t i = 0; i < ARRAY_SIZE(optional); i++)
        check_package(d, false, optional[i]);
}

/* ---- others ---- */

static const char *
find_in_path(struct doctor *d, const char *name)
{
    const char *path = getenv("PATH");
    for (const char *part = path ? path : ""; *part;) {
        int len = 0;
        while (part[len] && part[len] != ':')
            len++;
        const char *file = doctor_text(d, "%.*s/%s", len, part, name);
        if (access(file, X_OK) == 0)
            return file;
        part += len + (part[len] == ':');
    }
    return NULL;
}

void
doctor_check_llama_server(struct doctor *d)
{
    const char *given = d->config->paths.llama_server;
    if (doctor_count_engine(d->config, CONFIG_ENGINE_LLAMA_SERVER) == 0) {
        doctor_add(d, "", DOCTOR_NOT_NEEDED, "", "no model runs on llama-server");
        return;
    }
    const char *file = given ? given : find_in_path(d, "llama-server");
    if (file && access(file, X_OK) == 0)
        doctor_add(d, "", DOCTOR_HOLDS, "", "%s", file);
    else
        doctor_add(d, "", DOCTOR_FAILS, "install llama.cpp, and set paths.llama_server",
                   "%s cannot be run", file ? file : "llama-server is not in $PATH, and");
}
