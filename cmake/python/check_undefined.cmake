execute_process(COMMAND ${NM} -D --undefined-only ${LIBRARY} OUTPUT_VARIABLE symbols
                COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "sqlite3_[a-z0-9_]+" missing "${symbols}")
if(missing)
    file(REMOVE ${LIBRARY})
    message(FATAL_ERROR "add to python/native/sqlite_table.h: ${missing}")
endif()
