/* SPDX-License-Identifier: Apache-2.0 */
/* textfile.c: *.prom files of configured folders, as other programs leave them there. Files are
 * replaced by renaming, so they are opened each time. */
#include "exporters/host/textfile.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "exporters/host/collectors.h"
#include "exporters/host/folders.h"
#include "exporters/host/kept.h"
#include "exporters/page.h"

#define FILES_MAX 10000 /* of all folders together */

struct file {
    char *shown; /* owned */
    uint64_t mtime;
};

struct textfile {
    const struct host_options *options;
    struct page *page;  /* of the round */
    struct file *files; /* those that were read in it */
    size_t count;
    bool failed; /* some file or folder could not be read; `last` says what */
    struct err last;
};

/* One file onto the page, all of it or nothing. */
static bool
read_file(struct textfile *textfile, const char *folder, const char *name, uint64_t *mtime)
{
    struct kept kept;
    struct scan text;
    struct stat about;
    struct err *err = &textfile->last;
    bool fine = kept_init(&kept, folder, name, err) && kept_read(&kept, &text, err) &&
                textfile_parse(text, kept.path, NULL, err) &&
                textfile_parse(text, kept.path, textfile->page, err);
    if (fine && fstat(kept.fd, &about) != 0)
        fine = err_errno(err, ERR_RETRY, errno, "look at '%s'", kept.path);
    *mtime = fine ? (uint64_t)about.st_mtim.tv_sec : 0; /* whole seconds, as node_exporter */
    kept_done(&kept);
    return fine;
}

static int
is_prom(const struct dirent *entry)
{
    size_t size = strlen(entry->d_name);
    return size >= 5 && strcmp(entry->d_name + size - 5, ".prom") == 0;
}

static void
note_file(struct textfile *textfile, const char *shown, const char *name, uint64_t mtime)
{
    struct file *file = &textfile->files[textfile->count];
    if (asprintf(&file->shown, "%s/%s", shown, name) < 0) {
        file->shown = NULL;
        return;
    }
    file->mtime = mtime;
    textfile->count++;
}

static void
read_folder(void *context, const char *path, const char *shown)
{
    struct textfile *textfile = context;
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, is_prom, alphasort);
    if (count < 0) {
        (void)err_errno(&textfile->last, ERR_RETRY, errno, "read the folder '%s'", path);
        textfile->failed = true;
        return;
    }
    for (int i = 0; i < count; i++) {
        uint64_t mtime;
        if (textfile->count < FILES_MAX && read_file(textfile, path, entries[i]->d_name, &mtime))
            note_file(textfile, shown, entries[i]->d_name, mtime);
        else
            textfile->failed = true;
        free(entries[i]);
    }
    free(entries);
}

static void
forget_files(struct textfile *textfile)
{
    for (size_t i = 0; i < textfile->count; i++)
        free(textfile->files[i].shown);
    textfile->count = 0;
}

static bool
textfile_collect(void *self, struct page *page, struct err *err)
{
    struct textfile *textfile = self;
    forget_files(textfile);
    textfile->page = page;
    textfile->failed = false;
    folders_each(textfile->options->root, &textfile->options->textfile_directories, read_folder,
                 textfile);
    page_family(page, "node_textfile_mtime_seconds", PAGE_GAUGE,
                "Unixtime mtime of textfiles successfully read.");
    for (size_t i = 0; i < textfile->count; i++) {
        page_begin(page);
        page_label(page, "file", textfile->files[i].shown);
        page_uint(page, textfile->files[i].mtime);
    }
    if (textfile->count == 0)
        page_absent(page, "node_textfile_mtime_seconds",
                    "host.textfile_directories names no folder with *.prom files");
    page_gauge(page, "node_textfile_scrape_error",
               "1 if there was an error opening or reading a file, 0 otherwise", textfile->failed);
    if (textfile->failed) /* not a failure of the collector: the other files are on the page */
        page_absent(page, "what a file holds", "%s", textfile->last.text);
    (void)err;
    return true;
}

static void
textfile_close(void *self)
{
    struct textfile *textfile = self;
    if (textfile == NULL)
        return;
    forget_files(textfile);
    free(textfile->files);
    free(textfile);
}

static bool
textfile_open(void **out, const struct host_options *options, struct err *err)
{
    struct textfile *textfile = calloc(1, sizeof(*textfile));
    if (textfile != NULL)
        textfile->files = calloc(FILES_MAX, sizeof(*textfile->files));
    if (textfile == NULL || textfile->files == NULL) {
        free(textfile);
        return err_set(err, ERR_STOP, 0, "cannot read text files: out of memory");
    }
    textfile->options = options;
    *out = textfile;
    return true;
}

const struct host_class host_textfile = {"textfile", textfile_open, textfile_collect,
                                         textfile_close};
