#include "support/place.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

void place_folder(world *w)
{
    const char *place = getenv("TMPDIR");
    char        directory[200];
    (void)snprintf(directory, sizeof(directory), "%s/pgqrs_case_XXXXXX",
                   place != NULL && strlen(place) < 150 ? place : "/tmp");
    if (mkdtemp(directory) == NULL)
        fail_msg("could not make a directory for the case");
    (void)snprintf(w->path, sizeof(w->path), "%s/store.db", directory);
}

void place_folder_remove(world *w)
{
    char directory[sizeof(w->path)];
    (void)snprintf(directory, sizeof(directory), "%s", w->path);
    *strrchr(directory, '/') = '\0';
    DIR *d                   = opendir(directory);
    if (d == NULL)
        return;
    for (const struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d)) {
        char path[sizeof(directory) + sizeof(entry->d_name) + 1];
        (void)snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        (void)unlink(path);
    }
    (void)closedir(d);
    (void)rmdir(directory);
}
