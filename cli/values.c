/* Numbers, durations and times: as they are written on a command line, and as they are shown. */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool read_number(const char *text, int64_t *out)
{
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *out  = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0';
}

bool cli_read_id(const cli *c, const char *text, int64_t *out)
{
    if (read_number(text, out) && *out > 0)
        return true;
    (void)cli_usage(c, NULL, "\"%s\" is not an id", cli_shown(text));
    return false;
}

bool cli_read_int(const cli *c, cli_flag flag, int64_t low, int64_t high, int64_t *out)
{
    int64_t number;

    if (c->values[flag] == NULL)
        return true;
    if (read_number(c->values[flag], &number) && number >= low && number <= high) {
        *out = number;
        return true;
    }
    if (high == INT64_MAX)
        (void)cli_usage(c, NULL, "--%s is \"%s\", not a number from %" PRId64 " on",
                        cli_flags[flag].name, cli_shown(c->values[flag]), low);
    else
        (void)cli_usage(c, NULL, "--%s is \"%s\", not a number from %" PRId64 " to %" PRId64,
                        cli_flags[flag].name, cli_shown(c->values[flag]), low, high);
    return false;
}

bool cli_read_real(const cli *c, cli_flag flag, double *out)
{
    char  *end;
    double number;

    if (c->values[flag] == NULL)
        return true;
    number = strtod(c->values[flag], &end);
    if (*end == '\0' && end != c->values[flag] && isfinite(number) && number > 0) {
        *out = number;
        return true;
    }
    (void)cli_usage(c, NULL, "--%s is \"%s\", not a number above 0", cli_flags[flag].name,
                    cli_shown(c->values[flag]));
    return false;
}

bool cli_read_word(const cli *c, cli_flag flag, const char *const *words, size_t count, size_t *out)
{
    const char *guess;
    char        list[256];
    size_t      len = 0;

    for (size_t i = 0; i < count; i++) {
        if (strcmp(words[i], c->values[flag]) == 0) {
            *out = i;
            return true;
        }
    }
    guess = cli_guess(c->values[flag], words, count);
    for (size_t i = 0; i < count && len < sizeof(list); i++)
        len +=
            (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i == 0 ? "" : ", ", words[i]);
    if (guess != NULL)
        (void)cli_usage(c, NULL, "--%s is \"%s\": did you mean \"%s\"?", cli_flags[flag].name,
                        cli_shown(c->values[flag]), guess);
    else
        (void)cli_usage(c, NULL, "--%s is \"%s\", not one of %s", cli_flags[flag].name,
                        cli_shown(c->values[flag]), list);
    return false;
}

/* --- Durations -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int64_t     us;
} units[] = {
    { "us", 1 },           { "ms", PGQRS_MILLISECOND }, { "s", PGQRS_SECOND },
    { "m", PGQRS_MINUTE }, { "h", PGQRS_HOUR },         { "d", PGQRS_DAY },
};

/* "90", "1.5s", "1h30m". Without a unit: seconds. */
static bool parse_duration(const char *text, int64_t *out)
{
    double total = 0;

    if (*text == '\0')
        return false;
    while (*text != '\0') {
        char  *end;
        size_t len, i = 0;
        double number;

        if (*text < '0' || *text > '9')
            return false;
        number = strtod(text, &end);
        text   = end;
        len    = strspn(text, "abcdefghijklmnopqrstuvwxyz");
        while (i < CLI_COUNT(units)
               && (strlen(units[i].name) != len || strncmp(units[i].name, text, len) != 0))
            i++;
        if (len == 0 && *text == '\0')
            i = 2; /* seconds */
        if (i == CLI_COUNT(units))
            return false;
        total += number * (double)units[i].us;
        text += len;
    }
    if (total >= 9e18)
        return false;
    *out = (int64_t)llround(total);
    return true;
}

bool cli_read_duration(const cli *c, cli_flag flag, int64_t *out)
{
    const char *text = c->values[flag];

    if (text == NULL)
        return true;
    if (flag == FLAG_RETENTION && strcmp(text, "forever") == 0) {
        *out = PGQRS_FOREVER;
        return true;
    }
    if (parse_duration(text, out) && (*out > 0 || flag == FLAG_DELAY))
        return true;
    (void)cli_usage(c, NULL, "--%s is \"%s\", not a duration like 500ms, 30s, 5m, 1h30m or 7d",
                    cli_flags[flag].name, cli_shown(text));
    return false;
}

const char *cli_duration_text(int64_t us, char out[CLI_TIME_BYTES])
{
    const int64_t s = us / PGQRS_SECOND;

    if (us == PGQRS_FOREVER)
        (void)snprintf(out, CLI_TIME_BYTES, "forever");
    else if (us < PGQRS_MILLISECOND)
        (void)snprintf(out, CLI_TIME_BYTES, "%" PRId64 " us", us);
    else if (us < PGQRS_SECOND)
        (void)snprintf(out, CLI_TIME_BYTES, "%.*f ms", us % 1000 == 0 ? 0 : 1, (double)us / 1e3);
    else if (us < PGQRS_MINUTE)
        (void)snprintf(out, CLI_TIME_BYTES, "%.*f s", us % PGQRS_SECOND == 0 ? 0 : 1,
                       (double)us / 1e6);
    else if (us < PGQRS_HOUR)
        (void)snprintf(out, CLI_TIME_BYTES, "%" PRId64 "m%s%.0" PRId64 "%s", s / 60,
                       s % 60 == 0 ? "" : " ", s % 60, s % 60 == 0 ? "" : "s");
    else if (us < PGQRS_DAY)
        (void)snprintf(out, CLI_TIME_BYTES, "%" PRId64 "h%s%.0" PRId64 "%s", s / 3600,
                       s / 60 % 60 == 0 ? "" : " ", s / 60 % 60, s / 60 % 60 == 0 ? "" : "m");
    else
        (void)snprintf(out, CLI_TIME_BYTES, "%" PRId64 "d%s%.0" PRId64 "%s", s / 86400,
                       s / 3600 % 24 == 0 ? "" : " ", s / 3600 % 24, s / 3600 % 24 == 0 ? "" : "h");
    return out;
}

/* --- Times ------------------------------------------------------------------------------------ */

/* Two or four digits; where they end, or NULL. */
static const char *digits(const char *at, size_t count, int *out)
{
    *out = 0;
    for (size_t i = 0; i < count; i++) {
        if (at == NULL || at[i] < '0' || at[i] > '9')
            return NULL;
        *out = *out * 10 + (at[i] - '0');
    }
    return at + count;
}

static const char *sign(const char *at, const char *one_of)
{
    return at != NULL && *at != '\0' && strchr(one_of, *at) != NULL ? at + 1 : NULL;
}

/* Z, or +hh:mm: seconds to take away. */
static bool parse_zone(const char *at, int64_t *out_seconds)
{
    int hours, minutes;
    int direction;

    *out_seconds = 0;
    if (strcmp(at, "Z") == 0 || strcmp(at, "z") == 0)
        return true;
    if (*at != '+' && *at != '-')
        return false;
    direction = *at == '+' ? 1 : -1;
    at        = digits(at + 1, 2, &hours);
    at        = at != NULL && *at == ':' ? at + 1 : at;
    at        = digits(at, 2, &minutes);
    if (at == NULL || *at != '\0' || hours > 23 || minutes > 59)
        return false;
    *out_seconds = direction * (hours * INT64_C(3600) + minutes * INT64_C(60));
    return true;
}

/* RFC 3339. */
static bool parse_time(const char *at, int64_t *out)
{
    struct tm tm       = { 0 };
    int64_t   fraction = 0;
    int64_t   zone;
    struct tm given;
    time_t    seconds;

    at = sign(digits(at, 4, &tm.tm_year), "-");
    at = sign(digits(at, 2, &tm.tm_mon), "-");
    at = sign(digits(at, 2, &tm.tm_mday), "Tt ");
    at = sign(digits(at, 2, &tm.tm_hour), ":");
    at = sign(digits(at, 2, &tm.tm_min), ":");
    at = digits(at, 2, &tm.tm_sec);
    if (at == NULL)
        return false;
    if (*at == '.') {
        int64_t unit = PGQRS_SECOND / 10;

        for (at++; *at >= '0' && *at <= '9'; at++, unit /= 10)
            fraction += unit * (*at - '0');
    }
    if (!parse_zone(at, &zone))
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    given   = tm;
    seconds = timegm(&tm);
    if (tm.tm_mon != given.tm_mon || tm.tm_mday != given.tm_mday || tm.tm_hour != given.tm_hour
        || tm.tm_min != given.tm_min || tm.tm_sec != given.tm_sec) /* the 31st of June */
        return false;
    *out = ((int64_t)seconds - zone) * PGQRS_SECOND + fraction;
    return true;
}

bool cli_read_time(const cli *c, cli_flag flag, int64_t *out)
{
    if (c->values[flag] == NULL)
        return true;
    if (parse_time(c->values[flag], out) && *out > 0)
        return true;
    (void)cli_usage(c, NULL,
                    "--%s is \"%s\", not a time like 2025-01-31T12:00:00Z or "
                    "2025-01-31T12:00:00+01:00",
                    cli_flags[flag].name, cli_shown(c->values[flag]));
    return false;
}

const char *cli_time_text(int64_t us, char out[CLI_TIME_BYTES])
{
    int64_t   second   = us / PGQRS_SECOND - (us % PGQRS_SECOND < 0);
    time_t    seconds  = (time_t)second;
    int       fraction = (int)(us - second * PGQRS_SECOND);
    struct tm tm;
    size_t    len;

    if (gmtime_r(&seconds, &tm) == NULL)
        memset(&tm, 0, sizeof(tm));
    len = strftime(out, CLI_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out + len, CLI_TIME_BYTES - len, ".%06dZ", fraction);
    return out;
}

const char *cli_time_short(int64_t us, char out[CLI_TIME_BYTES])
{
    time_t    seconds = (time_t)(us / PGQRS_SECOND);
    struct tm tm;

    if (us == 0)
        (void)snprintf(out, CLI_TIME_BYTES, "-");
    else if (gmtime_r(&seconds, &tm) == NULL
             || strftime(out, CLI_TIME_BYTES, "%Y-%m-%d %H:%M:%SZ", &tm) == 0)
        out[0] = '\0';
    return out;
}

static int64_t clock_us(clockid_t id)
{
    struct timespec now;

    (void)clock_gettime(id, &now);
    return (int64_t)now.tv_sec * PGQRS_SECOND + now.tv_nsec / 1000;
}

int64_t cli_now_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

int64_t cli_monotonic_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}
