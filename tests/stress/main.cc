// Runs scenarios on real sockets, each in a process of its own; exits 0 when all of them have held.
//
//   stress [NAME ...] [--scale X] [--soak SECONDS] [--seed N]
//
// Without names it runs all. A scale of 0.01 is a look, 1 is what the scenarios are meant for.
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "stress/server.h"
#include "warren/config.h"

namespace {

using stress::Settings;

struct Scenario {
  const char* name;
  void (*run)(const Settings&);
  bool tls;
  const char* about;
};

constexpr Scenario kScenarios[] = {
    {"idle", stress::idle, false, "connections that do nothing, then all talk"},
    {"idle_tls", stress::idle, true, "the same in TLS"},
    {"churn", stress::churn, false, "connections that come, say a word and go"},
    {"churn_tls", stress::churn, true, "the same in TLS"},
    {"firehose", stress::firehose, false, "one that never stops beside a hundred pingers"},
    {"firehose_tls", stress::firehose, true, "the same in TLS"},
    {"slow", stress::slow, false, "peers that read in drops"},
    {"hostile", stress::hostile, false, "peers that reset, half-close and vanish"},
    {"reload", stress::reload, false, "handlers and keys replaced all the time"},
    {"stop", stress::stop, false, "stop and drain under load, on the same port"},
    {"descriptors", stress::descriptors, false, "out of descriptors, again and again"},
    {"loss", stress::loss, false, "a network that loses packets"},
    {"proxy", stress::proxy, false, "a network that delays, cuts and reorders"},
    {"soak", stress::soak, false, "some of everything for a long time"},
};

[[noreturn]] void usage() {
  std::fputs("usage: stress [NAME ...] [--scale X] [--soak SECONDS] [--seed N]\n", stderr);
  for (const Scenario& one : kScenarios) std::fprintf(stderr, "  %-13s %s\n", one.name, one.about);
  std::exit(2);
}

struct Request {
  Settings settings;
  std::vector<std::string_view> names;

  bool wants(const Scenario& scenario) const {
    if (!WARREN_TLS && scenario.tls) return false;
    return names.empty() || std::find(names.begin(), names.end(), scenario.name) != names.end();
  }
};

bool known(std::string_view name) {
  for (const Scenario& one : kScenarios) {
    if (name == one.name) return true;
  }
  return false;
}

Request parse(int argc, char** argv) {
  Request request;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const char* const value = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--scale") {
      request.settings.scale = std::atof(value), ++i;
    } else if (word == "--soak") {
      request.settings.soak = std::atof(value), ++i;
    } else if (word == "--seed") {
      request.settings.seed = std::strtoull(value, nullptr, 10), ++i;
    } else if (known(word)) {
      request.names.push_back(word);
    } else {
      usage();
    }
  }
  if (request.settings.scale <= 0 || request.settings.soak <= 0) usage();
  return request;
}

// No scenario lasts longer, whatever has gone wrong. Its servers end with it.
void limitTime(const Scenario& scenario, const Settings& settings) {
  std::signal(SIGALRM, [](int) {
    static constexpr std::string_view kWhy = "    FAILED: it lasts too long\n";
    ::_exit(::write(STDERR_FILENO, kWhy.data(), kWhy.size()) > 0 ? 1 : 2);
  });
  const double soak = scenario.run == stress::soak ? settings.soak : 0;
  ::alarm(static_cast<unsigned>(120 + 480 * std::min(settings.scale, 1.0) + soak));
}

int runOne(const Scenario& scenario, Settings settings) {
  settings.tls = scenario.tls;
  std::printf("%s: %s\n", scenario.name, scenario.about);
  const pid_t child = stress::spawn([&] {
    limitTime(scenario, settings);
    scenario.run(settings);
  });
  return stress::await(child);
}

}  // namespace

int main(int argc, char** argv) {
  const Request request = parse(argc, argv);
  std::signal(SIGPIPE, SIG_IGN);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);

  int passed = 0, failed = 0, skipped = 0;
  for (const Scenario& scenario : kScenarios) {
    if (!request.wants(scenario)) continue;
    const double begin = stress::now();
    const int code = runOne(scenario, request.settings);
    const char* const result = code == 0 ? "ok" : code == stress::kSkipped ? "skipped" : "FAILED";
    std::printf("%s: %s, %.1f s\n", scenario.name, result, stress::now() - begin);
    ++(code == 0 ? passed : code == stress::kSkipped ? skipped : failed);
  }
  if (skipped > 0) std::printf("%d skipped\n", skipped);
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
