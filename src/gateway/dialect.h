#pragma once

/* Which API a request speaks. Bodies and answers go to an engine that speaks the same; so this only
 * says how an error is written, where usage stands, and how a stream ends. */

enum dialect {
    DIALECT_OPENAI,    /* completions, embeddings, scores, audio, images; streams end with [DONE] */
    DIALECT_RESPONSES, /* /v1/responses: as OpenAI, but streams are named events */
    DIALECT_MESSAGES,  /* /v1/messages: named events, errors with a type of their own */
    DIALECT_COUNT
};
