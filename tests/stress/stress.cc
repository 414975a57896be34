#include "stress/stress.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace stress {
namespace {

bool shown = false;  // there is a progress line

void clear() {
  if (shown) std::fputs("\r\033[K", stderr);
  shown = false;
}

void say(FILE* file, const char* prefix, const char* format, va_list arguments) {
  clear();
  std::fputs(prefix, file);
  std::vfprintf(file, format, arguments);
  std::fputs("\n", file);
  std::fflush(file);
}

constexpr size_t kPeriod = 65521;

const auto pattern = [] {
  std::array<std::byte, kPeriod + kChunk> bytes{};
  uint32_t state = 1;
  for (size_t i = 0; i < bytes.size(); ++i) {
    state = state * 1664525 + 1013904223;
    bytes[i] = i < kPeriod ? static_cast<std::byte>(state >> 24) : bytes[i - kPeriod];
  }
  return bytes;
}();

}  // namespace

void note(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(stdout, "    ", format, arguments);
  va_end(arguments);
}

void progress(const char* format, ...) {
  static const bool wanted = ::isatty(STDERR_FILENO) != 0;
  static double last = 0;
  if (!wanted || now() - last < 0.1) return;
  last = now();
  clear();
  std::fputs("    ", stderr);
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fflush(stderr);
  shown = true;
}

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(stderr, "    FAILED: ", format, arguments);
  va_end(arguments);
  std::exit(1);
}

void skip(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(stdout, "    skipped: ", format, arguments);
  va_end(arguments);
  std::exit(kSkipped);
}

const std::byte* expected(uint64_t position) { return pattern.data() + position % kPeriod; }

double now() {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(time).count();
}

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto index = static_cast<size_t>(share * static_cast<double>(values.size() - 1));
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(index);
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

Used usedBy(pid_t pid) {
  const std::string process = "/proc/" + std::to_string(pid);
  Used used;
  std::ifstream(process + "/schedstat") >> used.cpu;
  used.cpu /= 1e9;
  std::ifstream status(process + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) used.memory = std::stod(line.substr(8)) * 1024;
  }
  std::error_code gone;
  const std::filesystem::directory_iterator open(process + "/fd", gone);
  used.descriptors = static_cast<size_t>(std::distance(begin(open), end(open)));
  return used;
}

}  // namespace stress
