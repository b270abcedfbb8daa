/* An instant LoRAX: answers every POST at once, or after a fixed delay, with a 900-byte chat completion and the headers
 * that LoRAX sends. One thread, one epoll, keep-alive. It exists to be faster than whatever is measured against it.
 *
 *   instant_server [--port P] [--delay-ms N]       prints "listening on PORT" and serves until its stdin ends
 *
 * Rows that carry the marker m#NNNNNNNNNN get it echoed, and are counted per number: GET /stats.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 65536
#define BUFFER_BYTES (64 * 1024)
#define MAX_MARKER 20000000
#define MARKER_DIGITS 10

struct connection {
  char *in;
  size_t in_bytes;
  unsigned generation;
};

struct answer;

/* An answer that waits for its time; all wait equally long, so they leave in the order in which they came. */
struct delayed {
  int fd;
  unsigned generation;
  struct answer *answer;
  long marker;
  long long due_ns;
};

static struct connection connections[MAX_CONNECTIONS];
static unsigned char *runs; /* how often each marker was answered */
static long long requests, connects;
static struct delayed *queue;
static size_t queue_head, queue_count, queue_size = 1 << 17;
static long long delay_ns;
static int epoll_fd;

static const char HEADERS[] =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-compute-type: gpu+optimized\r\nx-compute-time: 812\r\n"
    "x-compute-characters: 431\r\nx-total-time: 812\r\nx-validation-time: 1\r\nx-queue-time: 11\r\n"
    "x-inference-time: 800\r\nx-time-per-token: 12\r\nx-time-to-first-token: 41\r\nx-time-per-output-token: 12\r\n"
    "x-prompt-tokens: 110\r\nx-generated-tokens: 64\r\nx-skipped-tokens: 0\r\nx-total-tokens: 174\r\n"
    "x-model-id: mistralai/Mistral-7B-Instruct-v0.2\r\naccess-control-allow-origin: *\r\n"
    "vary: origin\r\nvary: access-control-request-method\r\nvary: access-control-request-headers\r\n"
    "date: Mon, 23 Nov 2026 04:00:00 GMT\r\n";
static const char BODY_START[] =
    "{\"id\":\"null\",\"object\":\"text_completion\",\"created\":1737575137,"
    "\"model\":\"mistralai/Mistral-7B-Instruct-v0.2\",\"choices\":[{\"index\":0,\"message\":"
    "{\"role\":\"assistant\",\"content\":\" m#";
static const char BODY_END[] =
    "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":110,\"total_tokens\":174,"
    "\"completion_tokens\":64},\"system_fingerprint\":\"0.1.0-native\"}";
static const char INFO[] =
    "{\"model_id\":\"mistralai/Mistral-7B-Instruct-v0.2\",\"model_sha\":\"0\",\"model_dtype\":\"torch.float16\","
    "\"model_device_type\":\"cuda\",\"model_pipeline_tag\":\"text-generation\",\"max_concurrent_requests\":4096,"
    "\"max_best_of\":2,\"max_stop_sequences\":4,\"max_input_length\":8191,\"max_total_tokens\":8192,"
    "\"waiting_served_ratio\":1.2,\"max_batch_total_tokens\":4000000,\"max_waiting_tokens\":20,"
    "\"validation_workers\":2,\"eager_prefill\":true,\"version\":\"0.1.0\",\"sha\":null,\"docker_label\":null}";

static const char NATIVE_START[] = "[{\"generated_text\":\" m#";
static const char NATIVE_END[] = "\"}]";

struct answer {
  char text[4096];
  size_t bytes, marker_at;
};
/* Texts differ, as those of a model do: one and the same would compress to nothing. More of them than rows in a chunk. */
#define VARIANTS 1024
#define VOCABULARY 2000
static struct answer chat[VARIANTS], native[VARIANTS];
static char vocabulary[VOCABULARY][12];

static unsigned chance(unsigned below) {
  static unsigned long long state = 20261123;
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return (unsigned)(state >> 33) % below;
}

static void make_vocabulary(void) {
  static const char LETTERS[] = "eeeeeeeetttttaaaaaooooiiiinnnnsssshhhrrrdddlllccuummwwffggyyppbbvk";
  for (int word = 0; word < VOCABULARY; word++) {
    unsigned length = 2 + chance(4) + chance(5);
    for (unsigned n = 0; n < length; n++) vocabulary[word][n] = LETTERS[chance(sizeof LETTERS - 1)];
  }
}

/* Common words are much more common than rare ones. */
static const char *some_word(void) { return vocabulary[chance(1 + chance(1 + chance(VOCABULARY)))]; }

static void make_answer(struct answer *answer, const char *start, const char *finish) {
  char body[2048];
  size_t n = strlen(start), finish_bytes = strlen(finish);
  memcpy(body, start, n);
  size_t marker_at = n;
  memset(body + n, '0', MARKER_DIGITS);
  n += MARKER_DIGITS;
  while (n + finish_bytes < 900) n += (size_t)sprintf(body + n, " %s", some_word());
  memcpy(body + n, finish, finish_bytes);
  n += finish_bytes;
  int head = snprintf(answer->text, sizeof answer->text, "%scontent-length: %zu\r\n\r\n", HEADERS, n);
  memcpy(answer->text + head, body, n);
  answer->bytes = (size_t)head + n;
  answer->marker_at = (size_t)head + marker_at;
}

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void drop(int fd) {
  connections[fd].generation++;
  connections[fd].in_bytes = 0;
  close(fd);
}

static void send_all(int fd, const char *data, size_t bytes) {
  while (bytes > 0) {
    ssize_t sent = send(fd, data, bytes, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) continue; /* a full buffer on loopback empties at once */
    if (sent <= 0) { drop(fd); return; }
    data += sent;
    bytes -= (size_t)sent;
  }
}

static void send_answer(int fd, struct answer *answers, long marker) {
  struct answer *answer = &answers[marker < 0 ? 0 : marker % VARIANTS];
  char digits[32];
  snprintf(digits, sizeof digits, "%010ld", marker < 0 ? 0 : marker);
  memcpy(answer->text + answer->marker_at, digits, MARKER_DIGITS);
  send_all(fd, answer->text, answer->bytes);
}

static void send_json(int fd, const char *body) {
  char text[4096];
  int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                   strlen(body), body);
  send_all(fd, text, (size_t)n);
}

static void send_stats(int fd) {
  long long unique = 0, most = 0;
  for (long i = 0; i < MAX_MARKER; i++) {
    unique += runs[i] != 0;
    if (runs[i] > most) most = runs[i];
  }
  struct rusage use;
  getrusage(RUSAGE_SELF, &use);
  char body[512];
  snprintf(body, sizeof body,
           "{\"requests\":%lld,\"connects\":%lld,\"markers\":%lld,\"most_runs_of_a_marker\":%lld,\"cpu_s\":%.6f}",
           requests, connects, unique, most,
           use.ru_utime.tv_sec + use.ru_stime.tv_sec + (use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
  send_json(fd, body);
}

static void take_post(int fd, struct answer *answer, const char *body, size_t bytes) {
  long marker = -1;
  const char *at = memmem(body, bytes, "m#", 2);
  if (at != NULL && at + 2 + MARKER_DIGITS <= body + bytes) {
    marker = strtol(at + 2, NULL, 10);
    if (marker >= 0 && marker < MAX_MARKER && runs[marker] < 255) runs[marker]++;
  }
  requests++;
  if (delay_ns == 0) {
    send_answer(fd, answer, marker);
    return;
  }
  if (queue_count == queue_size) { fprintf(stderr, "too many rows at once\n"); exit(1); }
  struct delayed *entry = &queue[(queue_head + queue_count++) % queue_size];
  *entry = (struct delayed){fd, connections[fd].generation, answer, marker, now_ns() + delay_ns};
}

/* Serve the whole requests at the start of the buffer. */
static void serve(int fd) {
  struct connection *c = &connections[fd];
  unsigned generation = c->generation;
  size_t done = 0;
  while (c->generation == generation) {
    char *start = c->in + done, *end = c->in + c->in_bytes;
    char *head_end = memmem(start, (size_t)(end - start), "\r\n\r\n", 4);
    if (head_end == NULL) break;
    head_end += 4;
    size_t length = 0;
    for (char *line = start; line < head_end; line = (char *)memchr(line, '\n', (size_t)(head_end - line)) + 1)
      if (strncasecmp(line, "content-length:", 15) == 0) length = strtoul(line + 15, NULL, 10);
    if (length > BUFFER_BYTES / 2) { drop(fd); return; }
    if ((size_t)(end - head_end) < length) break;
    if (start[0] == 'P') take_post(fd, strncmp(start, "POST / ", 7) == 0 ? native : chat, head_end, length);
    else if (strncmp(start, "GET /info", 9) == 0) send_json(fd, INFO);
    else if (strncmp(start, "GET /stats", 10) == 0) send_stats(fd);
    else send_json(fd, "{}");
    done = (size_t)(head_end - c->in) + length;
  }
  if (c->generation != generation) return;
  memmove(c->in, c->in + done, c->in_bytes - done);
  c->in_bytes -= done;
}

static void read_some(int fd) {
  struct connection *c = &connections[fd];
  ssize_t got = recv(fd, c->in + c->in_bytes, BUFFER_BYTES - c->in_bytes, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0 || c->in_bytes + (size_t)got >= BUFFER_BYTES) { drop(fd); return; }
  c->in_bytes += (size_t)got;
  serve(fd);
}

static void accept_some(int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    if (fd >= MAX_CONNECTIONS) { close(fd); continue; }
    connects++;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connections[fd].in == NULL) connections[fd].in = malloc(BUFFER_BYTES);
    connections[fd].in_bytes = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
  }
}

static int send_due(void) {
  while (queue_count > 0) {
    struct delayed *entry = &queue[queue_head];
    long long wait = entry->due_ns - now_ns();
    if (wait > 0) return (int)(wait / 1000000) + 1;
    if (connections[entry->fd].generation == entry->generation) send_answer(entry->fd, entry->answer, entry->marker);
    queue_head = (queue_head + 1) % queue_size;
    queue_count--;
  }
  return -1;
}

int main(int argc, char **argv) {
  int port = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--port") == 0) port = atoi(argv[i + 1]);
    else if (strcmp(argv[i], "--delay-ms") == 0) delay_ns = atoll(argv[i + 1]) * 1000000LL;
  }
  make_vocabulary();
  for (int n = 0; n < VARIANTS; n++) make_answer(&chat[n], BODY_START, BODY_END);
  for (int n = 0; n < VARIANTS; n++) make_answer(&native[n], NATIVE_START, NATIVE_END);
  runs = calloc(MAX_MARKER, 1);
  queue = malloc(queue_size * sizeof *queue);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) { perror("listen"); return 1; }
  getsockname(listener, (struct sockaddr *)&address, &size);
  printf("listening on %d\n", ntohs(address.sin_port));
  fflush(stdout);
  epoll_fd = epoll_create1(0);
  int watched[] = {listener, 0};
  for (int i = 0; i < 2; i++) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = watched[i]};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watched[i], &event);
  }
  struct epoll_event events[512];
  for (;;) {
    int count = epoll_wait(epoll_fd, events, 512, send_due());
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == 0) return 0; /* whoever started this server is gone */
      if (fd == listener) accept_some(listener);
      else read_some(fd);
    }
  }
}
