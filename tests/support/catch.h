// Catch2, version 2 or 3, whichever is installed. Tests include it as "support/catch.h".
#pragma once

#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#else
#include <catch2/catch.hpp>
#endif

// 0 when the tests are linked to a library built with -fno-exceptions: tests that throw through it are
// left out then. The build says so; the tests themselves always have exceptions.
#ifndef WARREN_LIBRARY_EXCEPTIONS
#define WARREN_LIBRARY_EXCEPTIONS 1
#endif
