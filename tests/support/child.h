// Child: a program under test, run as a user runs it.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "os/fd.h"

extern char** environ;

namespace warren::test {

// What a child says on one of its streams. A read throws std::runtime_error after 10 s of silence.
class Said {
 public:
  explicit Said(os::Fd fd) : fd_(std::move(fd)) {}

  // The next line without its end; at the end of the stream what is left, or nothing.
  std::string line() {
    size_t end = std::string::npos;
    while ((end = text_.find('\n')) == std::string::npos && readMore()) continue;
    const std::string line = text_.substr(0, end);
    text_.erase(0, end == std::string::npos ? end : end + 1);
    return line;
  }

  // The next line that has `part` in it, or nothing: those before it are dropped.
  std::string lineWith(std::string_view part) {
    while (!ended_ || !text_.empty()) {
      const std::string next = line();
      if (next.find(part) != std::string::npos) return next;
    }
    return {};
  }

  // The next `count` bytes; fewer only at the end of the stream.
  std::string exactly(size_t count) {
    while (text_.size() < count && readMore()) continue;
    const std::string bytes = text_.substr(0, count);
    text_.erase(0, count);
    return bytes;
  }

  // Everything else, up to the end of the stream.
  std::string rest() {
    awaitEnd();
    return std::exchange(text_, {});
  }

  void awaitEnd() {
    while (readMore()) continue;
  }

 private:
  bool readMore() {
    pollfd waiting{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    int ready = -1;
    while (ready < 0) ready = ::poll(&waiting, 1, 10'000);  // again after a signal
    if (ready == 0) throw std::runtime_error("a child was silent for 10 s after: " + text_);
    std::array<char, 4096> buffer;
    const ssize_t count = ::read(fd_.get(), buffer.data(), buffer.size());
    if (count > 0) text_.append(buffer.data(), static_cast<size_t>(count));
    ended_ = count <= 0;
    return !ended_;
  }

  os::Fd fd_;
  std::string text_;  // read, and not yet asked for
  bool ended_ = false;
};

// Starts a program, looked for in PATH if it is a bare name. One that still runs when this dies is
// killed.
class Child {
 public:
  explicit Child(std::vector<std::string> command)
      : Child(std::move(command), Pipe(), Pipe(), Pipe()) {}
  ~Child() {
    if (pid_ < 0) return;
    signal(SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) { ::kill(pid_, number); }

  void write(std::string_view text) {
    const ssize_t count = ::write(input_.get(), text.data(), text.size());
    if (count != static_cast<ssize_t>(text.size())) {
      throw std::system_error(errno, std::generic_category(), "writing to a child");
    }
  }
  void endInput() { input_ = {}; }
  Said& output() { return output_; }
  Said& errors() { return errors_; }

  // Waits until it has ended and gives its exit code, or 128 and the signal that ended it.
  int wait() {
    output_.awaitEnd();
    errors_.awaitEnd();
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  struct Pipe {
    Pipe() {
      int ends[2];
      if (::pipe(ends) < 0) throw std::system_error(errno, std::generic_category(), "pipe");
      for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
      out = os::Fd(ends[0]);
      in = os::Fd(ends[1]);
    }
    os::Fd out;
    os::Fd in;
  };

  Child(std::vector<std::string> command, Pipe input, Pipe output, Pipe errors)
      : input_(std::move(input.in)),
        output_(std::move(output.out)),
        errors_(std::move(errors.out)) {
    std::vector<char*> words;
    for (std::string& word : command) words.push_back(word.data());
    words.push_back(nullptr);
    posix_spawn_file_actions_t streams;
    posix_spawn_file_actions_init(&streams);
    posix_spawn_file_actions_adddup2(&streams, input.out.get(), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&streams, output.in.get(), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&streams, errors.in.get(), STDERR_FILENO);
    const int error = posix_spawnp(&pid_, words[0], &streams, nullptr, words.data(), environ);
    posix_spawn_file_actions_destroy(&streams);
    if (error != 0) throw std::system_error(error, std::generic_category(), command[0]);
  }

  pid_t pid_ = -1;
  os::Fd input_;
  Said output_;
  Said errors_;
};

}  // namespace warren::test
