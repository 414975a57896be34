// Runs what must stop the program, and lives to tell.
#pragma once

#include <functional>
#include <string>

namespace warren::test {

// Runs `body` in a child process and gives what it printed to stderr before it aborted; empty when it
// did not abort.
std::string abortMessage(const std::function<void()>& body);

}  // namespace warren::test
