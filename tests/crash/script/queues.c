/* The schema, and queues. */
#include "crash/script/script.h"

void part_install(void)
{
    pgqrs_counters     counters;
    pgqrs_plan        *plan        = NULL;
    pgqrs_description *description = NULL;

    (void)EXPECT(OK, pgqrs_install_plan(store, NULL, &plan, &failed));
    pgqrs_plan_free(plan);
    (void)EXPECT(OK, pgqrs_store_describe(store, &description, &failed));
    pgqrs_description_free(description);
    (void)EXPECT(OK, pgqrs_install(store, &failed));
    (void)EXPECT(OK, pgqrs_verify(store, &failed));
    (void)EXPECT(OK, pgqrs_install(store, &failed));
    /* roles that every server has; SQLite has none */
    (void)EXPECT(OK | 1u << PGQRS_ESTATE,
                 pgqrs_install_roles(store, "pg_monitor", "pg_read_all_stats", &failed));
    pgqrs_store_counters(store, &counters);
    (void)EXPECT(OK | (again ? AGAIN : 0), pgqrs_queue_create(store, "plain", NULL, &failed));
    (void)put("plain", NULL, 0);
}

void part_queues(void)
{
    const pgqrs_queue_options keep_short = { .struct_size  = sizeof(keep_short),
                                             .retention_us = PGQRS_HOUR };
    pgqrs_queues             *queues     = NULL;
    pgqrs_queue_metrics       metrics;
    int64_t                   count;

    (void)EXPECT(OK | (again ? AGAIN : 0), pgqrs_queue_create(store, "crash", NULL, &failed));
    (void)EXPECT(OK, pgqrs_queue_ensure(store, "crash", NULL, &failed));
    (void)EXPECT(OK, pgqrs_workflow_ensure(store, "crash_flow", NULL, &failed));
    (void)EXPECT(OK, pgqrs_queue_configure(store, "crash", &keep_short, &failed));
    (void)EXPECT(OK, pgqrs_queue_get(store, "crash", &queues, &failed));
    pgqrs_queues_free(queues);
    (void)EXPECT(OK, pgqrs_queue_list(store, &queues, &failed));
    pgqrs_queues_free(queues);
    (void)EXPECT(OK, pgqrs_queue_pause(store, "crash", &failed));
    (void)put("crash", NULL, 0);
    (void)put("crash", NULL, PGQRS_MINUTE);
    (void)EXPECT(OK, pgqrs_queue_resume(store, "crash", &failed));
    (void)EXPECT(OK, pgqrs_queue_measure(store, "crash", &metrics, &failed));

    /* one that retention removes */
    pgqrs_messages *messages = take("crash", 1, 0);
    for (size_t i = 0; i < pgqrs_messages_count(messages); i++)
        (void)EXPECT(OK, pgqrs_archive(store, pgqrs_messages_at(messages, i), &failed));
    pgqrs_messages_free(messages);
    let_pass(2 * PGQRS_HOUR);
    ask_to_remove("crash", 0);
    (void)EXPECT(OK, pgqrs_retention_run(store, 0, &count, &failed));

    ask_to_remove("crash", PGQRS_STATE_READY);
    ask_to_remove("crash", PGQRS_STATE_SCHEDULED);
    (void)EXPECT(OK, pgqrs_queue_purge(store, "crash", &count, &failed));

    (void)put("crash", NULL, 0);
    messages = take("crash", 10, 0);
    pgqrs_messages_free(messages);
    ask_to_remove("crash", PGQRS_STATE_LEASED);
    ask_to_remove("crash", PGQRS_STATE_READY);
    ask_to_remove("crash", PGQRS_STATE_SCHEDULED);
    ask_to_remove("crash", 0);
    (void)EXPECT(OK, pgqrs_queue_delete(store, "crash", true, &failed));
    (void)EXPECT(OK, pgqrs_queue_delete(store, "crash_flow", false, &failed));
    (void)EXPECT(OK, pgqrs_retention_run(store, 0, &count, &failed)); /* what they left behind */
}
