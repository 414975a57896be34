#include "support/aborts.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <stdexcept>

namespace warren::test {
namespace {

[[noreturn]] void runChild(int output, const std::function<void()>& body) {
  const rlimit noCore{0, 0};
  setrlimit(RLIMIT_CORE, &noCore);
  std::signal(SIGABRT, SIG_DFL);  // Catch2 would report the abort as a failed test
  dup2(output, STDERR_FILENO);
  body();
  _exit(0);
}

std::string readToEnd(int input) {
  std::string text;
  char part[256];
  for (ssize_t count = 0; (count = read(input, part, sizeof(part))) != 0;) {
    if (count > 0) text.append(part, static_cast<size_t>(count));
    if (count < 0 && errno != EINTR) break;
  }
  return text;
}

}  // namespace

std::string abortMessage(const std::function<void()>& body) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error("abortMessage: no pipe");
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("abortMessage: no process");
  if (child == 0) runChild(ends[1], body);

  close(ends[1]);
  const std::string text = readToEnd(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? text : std::string();
}

}  // namespace warren::test
