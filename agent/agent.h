/* SPDX-License-Identifier: Apache-2.0 */
/* agent.h: what the parts of the data path share: inputs, files, batches, topics, lanes.
 *
 *     input --*-- file --1-- generation          a file is read by one input
 *                  |
 *                  *-- batch --1-- slab --1-- lane --1-- topic
 *
 * A batch is one range of one file, encoded into one slab, sent to one partition. A lane is what
 * a slab belongs to: a partition, or all partitions of one leader when there are too many.
 * Everything here is owned by the loop's thread. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/generation.h"
#include "agent/habits.h"
#include "agent/options.h"
#include "agent/producer.h"
#include "agent/receipt.h"
#include "agent/slab.h"
#include "core/buffer.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/metrics.h"

#define MESSAGES_MAX 512  /* records handed over with one call */
#define BATCHES_MAX 8192  /* ranges under way: many small files share a slab */
#define RECORDS_MAX 32768 /* under way: the library keeps some 200 bytes for each */
/* JSON around the text of one event: path and host escaped, the configured fields, numbers. */
#define ENVELOPE_SIZE_MAX (4096 * 6 + 64 * 6 + FIELDS_SIZE_MAX + 512)
#define READ_SIZE (128 * 1024) /* one turn of one file: small enough to be fair */

enum agent_metric {
#define METRIC METRIC_SYMBOL
#include "agent/metrics.def"
#undef METRIC
    METRIC_COUNT
};
extern const struct metric_family agent_metric_families[METRIC_COUNT];

struct agent;
struct file;
struct receipts;
struct remote;
struct remotes;
struct finds;
struct moved;
struct watch;
struct held;
struct held_files;

struct lane {
    struct slab_share share; /* first: a slab's share is its lane */
    int32_t leader;          /* -1: none; nothing is read for it */
    uint64_t blocked_epoch;  /* agent's answer count at which it had no room */
    uint64_t quiet_since_ms; /* of the last finished batch, or when it began to wait for one */
};

/* Why a topic takes no events, in few words that never change: label of tailrace_agent_paused. */
enum pause {
    PAUSE_KAFKA,      /* no broker can be reached */
    PAUSE_TOPIC,      /* it is missing, or refuses */
    PAUSE_PERMISSION, /* the user may not write to it */
    PAUSE_LEADER,     /* some of its partitions have no leader */
    PAUSE_CLOCK,      /* the brokers' clocks and ours are too far apart */
    PAUSE_SILENCE,    /* no acknowledgement for a while */
    PAUSE_THROTTLED,  /* a quota of the brokers slows it down */
    PAUSE_SIZE,       /* some event is refused even in the smallest parts */
    PAUSE_REASONS,
    PAUSE_NONE = PAUSE_REASONS,
};

_Static_assert(offsetof(struct lane, share) == 0, "a slab's share is turned back into its lane");

/* A topic that refuses large requests gets smaller ones: at most `size` bytes of a lane are under
 * way at once. It grows again by itself while nothing is refused. */
struct request_limit {
    size_t size;         /* 0: none */
    uint64_t grow_at_ms; /* not before it is more tried */
    uint64_t wait_ms;    /* from one such try to the next; longer when they fail */
    bool grown;          /* since the last refusal */
    bool proven;         /* a request that needed this size was taken */
};

struct topic {
    char *name;
    size_t index;
    rd_kafka_resp_err_t error; /* as last seen on the cluster */
    int32_t partition_count;   /* 0: not known; nothing is read for it */
    int32_t leaderless;        /* partitions without a leader */
    int32_t lacking;           /* partitions with replicas that are not in sync */
    int32_t *leaders;
    uint32_t *partition_lanes; /* lane of each partition */
    struct lane **lanes;       /* only grows: slabs point into them */
    uint32_t lane_count;
    uint32_t turn;            /* of `spread` */
    uint64_t paused_until_ms; /* 0: not paused */
    uint64_t pause_ms;        /* backoff so far */
    struct request_limit limit;
    char reason[256]; /* why, for people; "" is fine */
    enum pause pause; /* the same for the metric: TOPIC, PERMISSION, LEADER or NONE */
    bool too_large;   /* some file waits for PAUSE_SIZE */
    bool aside;       /* no events go there: it stops nobody */
    metric paused[PAUSE_REASONS];
};

struct batch {
    struct file *file; /* NULL: its generation ended, nobody waits */
    struct slab *slab;
    struct topic *topic; /* where it was sent: its input may have another one by now */
    uint64_t start, end;
    uint64_t start_hash, end_hash; /* of the bytes before */
    uint32_t records, reported, failed;
    uint32_t lines, parts, empty; /* as agent/receipt.h counts them */
    struct receipt_place place;
    size_t size;       /* of its records */
    size_t limit_size; /* of its topic, when it was sent */
    bool alone;        /* nothing else could be in its request */
    uint64_t sent_ms;
    int64_t sent_wall_ms;
    struct batch *next;
};

enum file_state {
    FILE_ACTIVE,
    FILE_IGNORED,   /* older than ignore_older */
    FILE_REFUSED,   /* binary, Kafka's own data */
    FILE_FAILED,    /* cannot be opened or read; tried again */
    FILE_SUSPENDED, /* maybe a copy: inputs/copies.h */
    FILE_ENDED,     /* its content is gone; only answers are awaited */
    FILE_STATES,
};

/* What the files of an input add up to; kept by inputs/account.c. */
struct input_sums {
    uint64_t states[FILE_STATES];
    uint64_t lag_bytes;
    uint64_t unfinished_bytes; /* of these, lines whose newline is not written yet */
    uint64_t oldest_ms;        /* since when the file is behind that is longest so; 0: none is */
    double loss_seconds;       /* until rotation begins to take unread bytes; NAN: not known */
};

struct file {
    struct input *input;
    struct generation *generation; /* NULL unless ACTIVE or ENDED */
    char *path;                    /* owned; where it was listed last */
    enum file_state state;
    const char *reason; /* literal: why it is not read; of ACTIVE: why it cannot be now */
    int error_number;   /* of FAILED, and of ACTIVE while it cannot be read; 0: none */
    int fd;             /* -1: closed */
    uint64_t device, inode;
    uint64_t size;
    int64_t modified_ns;
    uint64_t read;      /* next byte to cut */
    uint64_t read_hash; /* of the up to 64 bytes before it */
    uint64_t scanned;   /* no '\n' from `read` to here */
    struct batch *first, *last;
    uint32_t unanswered;       /* records of all its batches */
    int32_t partition;         /* of the batches that are under way; kept until none is */
    uint64_t refused_at;       /* an event that was refused alone */
    uint32_t refused_size;     /* it is to be cut into such parts; 0: it is not */
    uint64_t refused_until_ms; /* parts cannot be smaller: not tried before; 0: they can */
    uint64_t refused_wait_ms;  /* backoff so far */
    bool failed;               /* some batch of it must be read again */
    bool listed;               /* its path still leads to it */
    bool deleted;              /* no path leads to it */
    struct held *held;         /* it is deleted, and this is how it is kept; owned by held.c */
    bool unreachable;          /* its path could not be looked at in the last discovery */
    bool queued;
    bool flush_end;           /* the unterminated last line is to be shipped */
    uint64_t last_read_ms;    /* of the last successful read */
    uint64_t behind_since_ms; /* 0: all is acknowledged */
    uint64_t round;           /* discovery that saw it last */
    struct file *queue_next;
    struct file *next, *previous; /* of the agent */
    UT_hash_handle by_path, by_inode;
    struct {
        uint64_t device, inode;
    } inode_key;
    bool in_path_table, in_inode_table;
    uint64_t held_since_ms; /* of SUSPENDED */
    uint64_t grown_ms;      /* when we saw last that it was written */
    struct habit habit;
    const struct rotation *rotation; /* it was rotated away from that path at `moved_ms` */
    uint64_t moved_ms;
    struct remote *remote;                  /* the network mount it lies on; NULL: none */
    bool busy, blind;                       /* see inputs/account.h, inputs/sweep.h */
    struct file *busy_next, *busy_previous; /* of the agent */
    struct file *blind_next, *blind_previous;
    struct file *open_next, *open_previous; /* of those with a descriptor, oldest first */
    struct {
        bool is_counted;
        enum file_state state;
        uint64_t lag_bytes, unfinished_bytes;
    } counted; /* in its input's sums */
};

struct file_queue {
    struct file *first, *last;
};

struct input {
    const struct agent_files_options *options; /* of the options in force */
    char *name;
    struct topic *topic;
    struct file_queue *queues; /* one per lane of the topic */
    uint32_t queue_count;
    uint32_t cursor;
    struct file_queue unplaced; /* the topic is not known yet */
    struct buffer before_path;  /* ,"host.name":"…","log.file.path":   */
    struct buffer after_offset; /* ,<fields>,"message":"               */
    bool removed;               /* only answers are awaited */
    bool rotates;               /* how often some path is rotated is known */
    bool first_start;           /* never started before: start_at holds */
    bool skipped;               /* by the last discovery, in part: a mount hangs */
    uint64_t round;             /* discovery that looked for its files last */
    int64_t tokens;             /* bytes that rate_limit lets it read now */
    uint64_t tokens_ms;
    size_t file_count;
    struct input_sums sums;
    metric events, bytes, lag_bytes, unfinished_bytes, lag_seconds, empty_lines;
    metric loss_seconds; /* METRIC_NONE: not known */
    metric silent_files;
    size_t silent_count;        /* by the last survey_silence() */
    metric states[FILE_STATES]; /* none of FILE_ENDED */
    struct input *next;
};

struct agent {
    struct options *loaded;
    const struct agent_options *options;
    struct metrics *metrics;
    struct catalog catalog;
    struct state *state;
    struct slab_pool *pool;
    struct producer *producer;
    struct receipts *receipts; /* NULL: none are sent */
    struct topic **topics;
    size_t topic_count;
    struct input *inputs;
    struct file *files;
    struct file *by_path, *by_inode; /* uthash tables */
    size_t file_count, open_count, open_max;
    struct file *open_first, *open_last; /* the one that is longest open first */
    struct file *busy;                   /* in which something is to be done */
    struct file *blind;                  /* of which inotify tells nothing */
    size_t busy_count, blind_count;
    struct file *sweep_cursor, *blind_cursor; /* where the sweep goes on; NULL: at the first */
    struct watch *watch;                      /* of looks.c; NULL: there is no inotify */
    size_t folders_failed, folders_unwatched; /* of the last discovery: not to be looked into, */
    uint64_t walk_us;                         /* without inotify; and what its walk cost */
    uint64_t forget_at_ms;
    struct remotes *remotes; /* network mounts; NULL: not known */

    bool truncated;      /* some file was, since the last discovery */
    struct finds *finds; /* of the last discovery, not decided yet; owned by discovery.c */
    struct rotations rotations;
    struct moved *moved; /* paths that were rotated since the last look; owned by between.c */
    struct held_files *held_files; /* deleted files; owned by held.c */

    char *read_buffer; /* TAIL_SIZE_MAX bytes of overlap, then what is cut */
    size_t read_size;  /* of the part behind the overlap */
    size_t part_max;   /* largest part that a wide slab holds */
    rd_kafka_message_t messages[MESSAGES_MAX];
    struct batch *batches;
    struct batch *free_batches;
    size_t records_waiting;
    uint64_t epoch; /* raised by every answer: who was blocked may look again */
    uint64_t round;
    uint64_t own_log_device, own_log_inode; /* what stderr is, when it is a file */
    struct buffer scratch;

    bool sending;                /* the producer takes records */
    bool kafka_is_away;          /* no broker can be reached */
    uint64_t throttled_until_ms; /* some time after the last answer that a quota delayed */
    int throttle_ms;             /* the delay */
    uint64_t starved_ms[2];      /* since when lanes find no slab, no wide one; 0: they do */
    bool clock_is_wrong;
    bool once;
    uint64_t events_total, bytes_total, skipped_total, lost_total; /* for the summary of `once` */
    metric ack_latency;

    /* Says something to a person; set by pipeline.c, the only one that logs. */
    void (*say)(struct agent *agent, enum log_level level, const char *site, const char *text);
    void (*wake)(struct agent *agent);       /* there is something to read */
    void (*rediscover)(struct agent *agent); /* files may have come or gone: look soon */
};

void agent_say(struct agent *agent, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
