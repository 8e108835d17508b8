/* SPDX-License-Identifier: Apache-2.0
 *
 * A backend that accepts every model and answers every request with no output, in a few milliseconds: what is left of
 * a load is Triton's core. Under the name of a real backend it also looks for that backend's model file, as it would.
 * The declarations are the part of Triton's backend interface (C, stable within major version 1) that it needs.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef struct TRITONSERVER_Error TRITONSERVER_Error;
typedef struct TRITONSERVER_Message TRITONSERVER_Message;
typedef struct TRITONBACKEND_Backend TRITONBACKEND_Backend;
typedef struct TRITONBACKEND_Model TRITONBACKEND_Model;
typedef struct TRITONBACKEND_ModelInstance TRITONBACKEND_ModelInstance;
typedef struct TRITONBACKEND_Request TRITONBACKEND_Request;
typedef struct TRITONBACKEND_Response TRITONBACKEND_Response;

enum { ERROR_NOT_FOUND = 2, RELEASE_ALL = 1, RESPONSE_FINAL = 1 };

TRITONSERVER_Error* TRITONSERVER_ErrorNew(int code, const char* message);
TRITONSERVER_Error* TRITONSERVER_MessageSerializeToJson(TRITONSERVER_Message*, const char** base, size_t* size);
TRITONSERVER_Error* TRITONSERVER_MessageDelete(TRITONSERVER_Message*);
TRITONSERVER_Error* TRITONBACKEND_BackendName(TRITONBACKEND_Backend*, const char** name);
TRITONSERVER_Error* TRITONBACKEND_ModelBackend(TRITONBACKEND_Model*, TRITONBACKEND_Backend** backend);
TRITONSERVER_Error* TRITONBACKEND_ModelConfig(TRITONBACKEND_Model*, uint32_t version, TRITONSERVER_Message** config);
TRITONSERVER_Error* TRITONBACKEND_ModelRepository(TRITONBACKEND_Model*, int* kind, const char** location);
TRITONSERVER_Error* TRITONBACKEND_ModelVersion(TRITONBACKEND_Model*, uint64_t* version);
TRITONSERVER_Error* TRITONBACKEND_ResponseNew(TRITONBACKEND_Response**, TRITONBACKEND_Request*);
TRITONSERVER_Error* TRITONBACKEND_ResponseSend(TRITONBACKEND_Response*, uint32_t flags, TRITONSERVER_Error*);
TRITONSERVER_Error* TRITONBACKEND_RequestRelease(TRITONBACKEND_Request*, uint32_t flags);

static const struct {
  const char* backend;
  const char* files[5]; /* any one of them */
} OPENED[] = {
    {"fil", {"xgboost.json", "xgboost.ubj", "model.txt", "checkpoint.tl", "xgboost.model"}},
    {"openvino", {"model.xml"}},
    {"pytorch", {"model.pt", "model.pt2"}}, /* the second as repo-tool's own backend does */
    {"tensorflow", {"model.savedmodel", "model.graphdef"}},
    {"tensorrt", {"model.plan"}},
};

static int is_there(const char* location, uint64_t version, const char* file) {
  char path[4096];
  struct stat found;
  snprintf(path, sizeof path, "%s/%llu/%s", location, (unsigned long long)version, file);
  return stat(path, &found) == 0;
}

/* The file that the configuration names; 1 when it names one. */
static int named_file(TRITONBACKEND_Model* model, char* file, size_t size) {
  static const char key[] = "\"default_model_filename\":\"";
  TRITONSERVER_Message* message;
  const char* json;
  size_t length;
  TRITONBACKEND_ModelConfig(model, 1, &message);
  TRITONSERVER_MessageSerializeToJson(message, &json, &length);
  const char* value = memmem(json, length, key, sizeof key - 1);
  size_t used = 0;
  if (value != NULL)
    for (value += sizeof key - 1; value < json + length && *value != '"' && used + 1 < size;) file[used++] = *value++;
  file[used] = 0;
  TRITONSERVER_MessageDelete(message);
  return used > 0;
}

TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) {
  TRITONBACKEND_Backend* backend;
  const char *name, *location;
  char file[1024], words[8192];
  uint64_t version;
  int kind;
  TRITONBACKEND_ModelBackend(model, &backend);
  TRITONBACKEND_BackendName(backend, &name);
  TRITONBACKEND_ModelRepository(model, &kind, &location);
  TRITONBACKEND_ModelVersion(model, &version);
  for (size_t known = 0; known < sizeof OPENED / sizeof *OPENED; ++known) {
    if (strcmp(OPENED[known].backend, name) != 0) continue;
    int found = 0;
    /* Triton fills in model.pt where nothing is named, and repo-tool's own backend then opens model.pt2 too. */
    if (named_file(model, file, sizeof file) && strcmp(file, "model.pt") != 0)
      found = is_there(location, version, file);
    else
      for (const char* const* one = OPENED[known].files; one < OPENED[known].files + 5 && *one; ++one)
        found |= is_there(location, version, *one);
    if (found) return NULL;
    snprintf(words, sizeof words, "the stand-in for %s finds no model file in %s/%llu", name, location,
             (unsigned long long)version);
    return TRITONSERVER_ErrorNew(ERROR_NOT_FOUND, words);
  }
  return NULL;
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* instance,
                                                       TRITONBACKEND_Request** requests, const uint32_t count) {
  (void)instance;
  for (uint32_t each = 0; each < count; ++each) {
    TRITONBACKEND_Response* response;
    if (TRITONBACKEND_ResponseNew(&response, requests[each]) == NULL)
      TRITONBACKEND_ResponseSend(response, RESPONSE_FINAL, NULL);
    TRITONBACKEND_RequestRelease(requests[each], RELEASE_ALL);
  }
  return NULL;
}
