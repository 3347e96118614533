# Tests instructions.sqlite and instructions.postgres: what callgrind counts in the library, against
# tests/instructions/recorded.json, where the numbers are for one compiler at -O2.

if(PGQRS_TEST_WRAPPER OR CMAKE_C_FLAGS MATCHES "-fsanitize" OR PGQRS_FAILPOINTS
   OR NOT CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo" OR NOT CMAKE_C_COMPILER_ID STREQUAL "GNU")
    return()
endif()
add_executable(instructions_program ${tests_dir}/instructions/program.c)
target_compile_options(instructions_program PRIVATE ${pgqrs_warnings})
target_link_libraries(instructions_program PRIVATE pgqrs::pgqrs) # an object of its own to callgrind
string(REGEX MATCH "^[0-9]+" compiler_major ${CMAKE_C_COMPILER_VERSION})
foreach(backend IN ITEMS sqlite postgres)
    if(NOT backend IN_LIST pgqrs_dialects)
        continue()
    endif()
    set(test instructions.${backend})
    add_test(NAME ${test}
             COMMAND ${Python3_EXECUTABLE} ${tests_dir}/instructions/test_instructions.py
             WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${test} PROPERTIES
        TIMEOUT 600 SKIP_RETURN_CODE 77 LABELS "instructions;${backend}"
        ENVIRONMENT "PYTHONDONTWRITEBYTECODE=1;PGQRS_TEST_BACKEND=${backend};PGQRS_TEST_PROGRAM=$<TARGET_FILE:instructions_program>;PGQRS_TEST_COMPILER=GNU ${compiler_major}")
endforeach()
