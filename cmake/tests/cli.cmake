# tests/cli/test_X.py -> tests cli.X.sqlite, cli.X.postgres and cli.X.turso: the program, as it is used.
# tests/cli/helpers/scene.c makes what they look at.

add_executable(cli_scene ${tests_dir}/cli/helpers/scene.c)
target_link_libraries(cli_scene PRIVATE ${support})
set(cli_environment
    PYTHONDONTWRITEBYTECODE=1
    PGQRS_TEST_CLI=$<TARGET_FILE:pgqrs_cli>
    PGQRS_TEST_SCENE=$<TARGET_FILE:cli_scene>)
if(PGQRS_SQLITE)
    add_library(cli_second_sqlite MODULE ${tests_dir}/cli/helpers/second_sqlite.c)
    set_target_properties(cli_second_sqlite PROPERTIES C_VISIBILITY_PRESET default)
    list(APPEND cli_environment PGQRS_TEST_SECOND_SQLITE=$<TARGET_FILE:cli_second_sqlite>)
endif()

file(GLOB cli_scripts CONFIGURE_DEPENDS ${tests_dir}/cli/test_*.py)
foreach(script IN LISTS cli_scripts)
    cmake_path(GET script STEM stem)
    string(REGEX REPLACE "^test_" "" name ${stem})
    foreach(backend IN LISTS pgqrs_dialects)
        set(test cli.${name}.${backend})
        set(environment ${cli_environment} PGQRS_TEST_BACKEND=${backend})
        if(backend STREQUAL "turso")
            list(APPEND environment ${turso_environment})
        endif()
        add_test(NAME ${test} COMMAND ${Python3_EXECUTABLE} ${script}
                 WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
        set_tests_properties(${test} PROPERTIES
            TIMEOUT ${PGQRS_TEST_TIMEOUT} SKIP_RETURN_CODE 77 LABELS "cli;${backend}"
            ENVIRONMENT "${environment}")
    endforeach()
endforeach()
