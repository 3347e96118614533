# tests/python/test_X.py -> tests python.X.sqlite, python.X.postgres and python.X.turso: the package as pip installs it,
# in a virtual environment of the build directory, which the test python.install makes.

set(python_venv ${PROJECT_BINARY_DIR}/python-venv)
set(python_run ${python_venv}/bin/python -m pytest -q -p no:cacheprovider)

add_test(NAME python.install
         COMMAND ${PROJECT_SOURCE_DIR}/tools/python_venv.sh ${python_venv} ${PROJECT_BINARY_DIR}/python-build
         WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
set_tests_properties(python.install PROPERTIES
    TIMEOUT 600 LABELS python FIXTURES_SETUP python ENVIRONMENT PYTHON=${Python3_EXECUTABLE})

file(GLOB python_scripts CONFIGURE_DEPENDS ${tests_dir}/python/test_*.py)
foreach(script IN LISTS python_scripts)
    cmake_path(GET script STEM stem)
    string(REGEX REPLACE "^test_" "" name ${stem})
    foreach(backend IN LISTS pgqrs_dialects)
        if(name MATCHES "^(names|types|wheel)$" AND NOT backend STREQUAL "sqlite")
            continue() # they look at no database
        endif()
        if(name STREQUAL "turso" AND NOT backend STREQUAL "turso")
            continue() # the engine that pip brings
        endif()
        set(environment PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1 PGQRS_TEST_BACKEND=${backend})
        if(backend STREQUAL "turso")
            if(NOT name MATCHES "^(codec|connect|defects|docs|engine|flow|payloads|plugin|queues|readme|runs|sync|turso|worker)$")
                continue() # several processes share what they test, or a connection is lent
            endif()
        endif()
        set(test python.${name}.${backend})
        add_test(NAME ${test} COMMAND ${python_run} ${script}
                 WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}/tests/python)
        if(name STREQUAL "processes") # they measure time, and restart the shared server
            set_tests_properties(${test} PROPERTIES RUN_SERIAL ON)
        endif()
        set_tests_properties(${test} PROPERTIES
            TIMEOUT ${PGQRS_TEST_TIMEOUT} SKIP_RETURN_CODE 77 LABELS python FIXTURES_REQUIRED python
            ENVIRONMENT "${environment}")
    endforeach()
endforeach()
