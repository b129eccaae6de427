#pragma once

/* The releases (12 of 0.12.0) that changed what a client sees. */

enum since {
    SINCE_AUDIO_USAGE = 10,
    SINCE_REASONING = 12,     /* beside reasoning_content */
    SINCE_ONE_REASONING = 16, /* reasoning_content has gone */
    SINCE_PARAMETER = 16,     /* errors name the parameter that was too large */
    SINCE_DRAIN = 18,         /* --shutdown-timeout; without it running requests are cut off */
    SINCE_FINGERPRINT = 20,   /* system_fingerprint, prompt_text, routed_experts */
    SINCE_TRANSFERS = 26,     /* ec_transfer_params, metrics */
    SINCE_COMPLETION_DETAILS = 30,
    SINCE_RERANK_SCORES = 20, /* rerank: ids of scores, prompt_tokens of usage */
};
