#include "bench.h"

int main(int argc, char **argv)
{
    return pgqrs_bench_main(argc, argv);
}
