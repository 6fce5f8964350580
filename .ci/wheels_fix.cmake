# SPDX-License-Identifier: Apache-2.0
# For messages built against ROS packages that come as wheels: their generator targets name the Python headers of the
# machine that built the wheels, and CMake refuses an include directory that does not exist. Drops such directories.
function(yoso_drop_absent_include_directories)
  get_directory_property(imported IMPORTED_TARGETS)
  foreach(target IN LISTS imported)
    get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(directories)
      set(present ${directories})
      foreach(directory IN LISTS directories)
        if(IS_ABSOLUTE "${directory}" AND NOT EXISTS "${directory}")
          list(REMOVE_ITEM present "${directory}")
        endif()
      endforeach()
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${present}")
    endif()
  endforeach()
endfunction()

cmake_language(DEFER CALL yoso_drop_absent_include_directories)
