#include "swarm.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <memory>

#include "player.h"

namespace warren::swarm {

namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kSecondsEach = 20;  // for one program: it is far from that
constexpr size_t kShrinkRuns = 3000;

// What a child tells its parent, whatever becomes of it.
struct Report {
  uint64_t seed;
  uint64_t seeds;
  uint64_t steps;
  char problem[1024];
};

class Shared {
 public:
  Shared()
      : at_(::mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                   0)) {
    if (at_ == MAP_FAILED) std::perror("mmap"), std::abort();
  }
  ~Shared() { ::munmap(at_, sizeof(Report)); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  Report& operator*() const { return *static_cast<Report*>(at_); }
  Report* operator->() const { return static_cast<Report*>(at_); }

 private:
  void* at_;
};

void tell(Report& report, const std::string& problem) {
  std::snprintf(report.problem, sizeof(report.problem), "%s", problem.c_str());
}

std::string endOf(int status) {
  if (WIFEXITED(status))
    return "the process ended with code " + std::to_string(WEXITSTATUS(status));
  const int signal = WTERMSIG(status);
  return signal == SIGALRM ? "a program never ends"
                           : std::string("the process died: ") + ::strsignal(signal);
}

// What a dying process says goes to a file; its death is not for handlers of the parent's.
void dieQuietly(std::FILE* words) {
  ::dup2(::fileno(words), STDERR_FILENO);
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTERM, SIGALRM}) {
    std::signal(signal, SIG_DFL);
  }
}

std::string wordsOf(std::FILE* words) {
  std::rewind(words);
  std::string text(600, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), words));
  return text;
}

// Runs `work` in a child and says what became of it.
template <class Work>
std::optional<std::string> apart(Report& report, const Work& work) {
  report.problem[0] = '\0';
  std::fflush(nullptr);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> words(std::tmpfile(), &std::fclose);
  const pid_t child = words != nullptr ? ::fork() : -1;
  if (child < 0) return "no process can be made";
  if (child == 0) {
    dieQuietly(words.get());
    work();
    ::_exit(report.problem[0] == '\0' ? 0 : 1);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
  }
  if (report.problem[0] != '\0') return report.problem;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return std::nullopt;
  return endOf(status) + ": " + wordsOf(words.get());
}

std::optional<std::string> play(const Program& program) {
  ::alarm(kSecondsEach);
  return Player(program).play();
}

}  // namespace

std::optional<Finding> run(const Program& program) {
  const Shared report;
  const auto problem = apart(*report, [&] {
    if (const auto found = play(program)) tell(*report, *found);
  });
  if (!problem) return std::nullopt;
  return Finding{program, *problem};
}

Outcome search(const Campaign& campaign) {
  const Shared report;
  *report = {};
  const Clock::time_point begin = Clock::now();
  const auto problem = apart(*report, [&] {
    for (uint64_t done = 0; done < campaign.seeds; ++done) {
      if (Clock::now() - begin >= campaign.time) return;
      report->seed = campaign.firstSeed + done;
      if (const auto found = play(generate(report->seed, campaign.steps))) {
        return tell(*report, *found);
      }
      ++report->seeds;
      report->steps += campaign.steps;
    }
  });
  Outcome outcome{report->seeds, report->steps, std::nullopt};
  if (problem) outcome.finding = Finding{generate(report->seed, campaign.steps), *problem};
  return outcome;
}

// Takes out runs of operations, long ones first, then single settings, as long as it still fails.
Finding shrink(Finding finding) {
  size_t runs = 0;
  const auto fails = [&](const Program& program) {
    if (++runs > kShrinkRuns) return false;
    std::optional<Finding> found = run(program);
    if (found) finding = std::move(*found);
    return found.has_value();
  };
  for (size_t part = finding.program.operations.size(); part > 0; part /= 2) {
    for (size_t at = 0; at < finding.program.operations.size();) {
      Program shorter = finding.program;
      const auto from = shorter.operations.begin() + static_cast<std::ptrdiff_t>(at);
      const size_t count = std::min(part, shorter.operations.size() - at);
      shorter.operations.erase(from, from + static_cast<std::ptrdiff_t>(count));
      if (!fails(shorter)) at += part;
    }
  }
  for (uint32_t Program::*setting :
       {&Program::chaos, &Program::kqueue, &Program::buffers, &Program::budget, &Program::tls}) {
    Program plainer = finding.program;
    plainer.*setting = 0;
    if (finding.program.*setting != 0) static_cast<void>(fails(plainer));
  }
  for (size_t at = 0; at < finding.program.operations.size(); ++at) {
    for (uint32_t Operation::*number : {&Operation::amount, &Operation::turns}) {
      Program plainer = finding.program;
      while (plainer.operations[at].*number > 0) {
        plainer.operations[at].*number /= 2;
        if (!fails(plainer)) break;
      }
    }
  }
  return finding;
}

uint64_t seedOfToday() { return static_cast<uint64_t>(std::time(nullptr)) / 86400 * 1'000'000'000; }

std::vector<Program> readPrograms(const std::string& path) {
  std::vector<Program> programs;
  std::ifstream file(path);
  std::string text;
  const auto take = [&] {
    if (const auto program = parse(text)) programs.push_back(*program);
    text.clear();
  };
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    if (line.starts_with("program") && !text.empty()) take();
    text += line + '\n';
  }
  if (!text.empty()) take();
  return programs;
}

}  // namespace warren::swarm
