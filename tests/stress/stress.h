// What the scenarios share: settings, output, the pattern all bytes are of, what a process uses.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace stress {

struct Settings {
  double scale = 1;  // of all numbers and times, except the soak's
  double soak = 60;  // seconds
  uint64_t seed = 1;
  bool tls = false;

  size_t count(size_t full, size_t least) const {
    return std::max(least, static_cast<size_t>(static_cast<double>(full) * scale));
  }
  double seconds(double full, double least) const { return std::max(least, full * scale); }
};

// Each returns when all that it promises has held. They run in a process of their own.
void idle(const Settings& settings);
void churn(const Settings& settings);
void firehose(const Settings& settings);
void slow(const Settings& settings);
void hostile(const Settings& settings);
void reload(const Settings& settings);
void stop(const Settings& settings);
void descriptors(const Settings& settings);
void loss(const Settings& settings);
void proxy(const Settings& settings);
void soak(const Settings& settings);

// --- output --------------------------------------------------------------------------------------

// A line of the result, on stdout.
[[gnu::format(printf, 1, 2)]] void note(const char* format, ...);
// What is under way: a line that the next one replaces, and only where stderr is a terminal.
[[gnu::format(printf, 1, 2)]] void progress(const char* format, ...);
// Says why and ends the scenario: as failed, or as one that cannot be here.
[[noreturn, gnu::format(printf, 1, 2)]] void fail(const char* format, ...);
[[noreturn, gnu::format(printf, 1, 2)]] void skip(const char* format, ...);
constexpr int kSkipped = 77;  // the exit code

// A system call that must not fail.
template <class Answer>
Answer must(Answer answer, const char* what) {
  if (answer < 0) fail("%s: %s", what, std::strerror(errno));
  return answer;
}

// --- bytes and time ------------------------------------------------------------------------------

constexpr size_t kChunk = size_t{64} << 10;

// The pattern from `position` on, kChunk bytes of it. Its period is a prime, so no buffer divides it.
const std::byte* expected(uint64_t position);

double now();  // seconds

// Below it lies `share` of the values.
double quantile(std::vector<double> values, double share);

// --- processes -----------------------------------------------------------------------------------

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // memory and latency are then no measure of warren
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

struct Used {
  double cpu = 0;          // seconds
  double memory = 0;       // bytes of its own that are in memory
  size_t descriptors = 0;  // open
};
Used usedBy(pid_t pid);

}  // namespace stress
