#include "conformance/deviations.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace warren::conformance {
namespace {

constexpr std::string_view kEverywhereBut = "everywhere but ";

// One pass over the lines of the table.
class Parser {
 public:
  explicit Parser(const std::string& path) : file_(path), path_(path) {
    if (!file_) throw std::runtime_error("no " + path + "; set WARREN_TRACES");
  }

  Deviations parse() {
    for (std::string text; std::getline(file_, text);) {
      ++number_;
      line(text);
    }
    for (const auto* list : {&result_.everywhere, &result_.table}) {
      for (const Deviation& deviation : *list) check(deviation);
    }
    for (const Deviation& rule : result_.everywhere) {
      if (rule.recorded.empty()) throw std::runtime_error(path_ + ": nowhere is not everywhere");
    }
    return std::move(result_);
  }

 private:
  void line(const std::string& text) {
    if (text.empty() || text[0] == '#') return;
    if (text.rfind("- ", 0) == 0) return current().recorded.push_back(text.substr(2));
    if (text.rfind("+ ", 0) == 0) return current().ours.push_back(text.substr(2));
    if (text.rfind("scenario ", 0) == 0) {
      scenario_ = text.substr(9);
      return;
    }
    if (text.rfind("reason ", 0) == 0) return reason(text);
    const size_t colon = text.rfind(": ");
    if (colon == std::string::npos) refuse("neither a header nor a line of a trace");
    begin(text.substr(0, colon), text.substr(colon + 2));
  }

  void reason(const std::string& text) {
    const size_t colon = text.find(": ");
    if (colon == std::string::npos) refuse("a reason has a key and a sentence");
    result_.reasons.push_back({text.substr(7, colon - 7), text.substr(colon + 2)});
  }

  void begin(const std::string& actor, const std::string& keys) {
    Deviation deviation;
    std::istringstream words(keys);
    for (std::string key; words >> key;) deviation.reasons.insert(key);
    if (actor == "everywhere" || actor.rfind(kEverywhereBut, 0) == 0) {
      current_ = &result_.everywhere;
      if (actor != "everywhere") deviation.scenario = actor.substr(kEverywhereBut.size());
    } else {
      current_ = &result_.table;
      deviation.scenario = scenario_;
      deviation.actor = actor;
      if (scenario_.empty()) refuse("an actor before the first scenario");
    }
    current_->push_back(std::move(deviation));
  }

  Deviation& current() {
    if (current_ == nullptr) refuse("a line of a trace before the first actor");
    return current_->back();
  }

  void check(const Deviation& deviation) const {
    for (const std::string& key : deviation.reasons) {
      const bool known = std::any_of(result_.reasons.begin(), result_.reasons.end(),
                                     [&](const auto& reason) { return reason.key == key; });
      if (!known) throw std::runtime_error(path_ + ": no reason " + key);
    }
    if (deviation.reasons.empty() || deviation.recorded == deviation.ours) {
      throw std::runtime_error(path_ + ": " + deviation.scenario + ": no difference, or no reason");
    }
  }

  [[noreturn]] void refuse(const std::string& why) const {
    throw std::runtime_error(path_ + ":" + std::to_string(number_) + ": " + why);
  }

  std::ifstream file_;
  std::string path_;
  int number_ = 0;
  Deviations result_;
  std::string scenario_;
  std::vector<Deviation>* current_ = nullptr;
};

// "a", "b" -> "`a`, `b`".
std::string quoted(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "`" : ", `") + name + "`";
  return text;
}

}  // namespace

const Deviations& Deviations::all() {
  static const Deviations table = Parser(traceDirectory() + "/deviations.txt").parse();
  return table;
}

std::string Deviations::markdown() const {
  std::string text = "| Reason | warren | Scenarios |\n|---|---|---|\n";
  for (const Reason& reason : reasons) {
    std::vector<std::string> names;
    const bool anywhere =
        std::any_of(everywhere.begin(), everywhere.end(),
                    [&](const Deviation& rule) { return rule.reasons.count(reason.key) > 0; });
    for (const Deviation& deviation : table) {
      if (deviation.reasons.count(reason.key) == 0) continue;
      if (names.empty() || names.back() != deviation.scenario) names.push_back(deviation.scenario);
    }
    text += "| " + reason.key + " | " + reason.sentence + " | ";
    text +=
        (anywhere ? names.empty() ? "everywhere" : "everywhere, " : "") + quoted(names) + " |\n";
  }
  return text;
}

namespace {

// Puts `ours` in the place of the next `recorded` in `lines`, from `from` on, and gives where it ends;
// -1 when there is none.
std::ptrdiff_t replace(Lines& lines, std::ptrdiff_t from, const Lines& recorded,
                       const Lines& ours) {
  const auto place =
      std::search(lines.begin() + from, lines.end(), recorded.begin(), recorded.end());
  if (place == lines.end() && !recorded.empty()) return -1;
  const auto after = lines.erase(place, place + static_cast<std::ptrdiff_t>(recorded.size()));
  const auto at = lines.insert(after, ours.begin(), ours.end());
  return at - lines.begin() + static_cast<std::ptrdiff_t>(ours.size());
}

}  // namespace

std::map<std::string, Lines> expected(const Recording& recording) {
  std::map<std::string, Lines> lines = recording.trace.byActor(recording.folding);
  for (auto& [who, own] : lines) {
    for (const Deviation& rule : Deviations::all().everywhere) {
      if (rule.scenario == recording.scenario) continue;
      for (std::ptrdiff_t at = 0; at >= 0;) at = replace(own, at, rule.recorded, rule.ours);
    }
  }

  std::map<std::string, std::ptrdiff_t> done;  // where the deviation before left off
  for (const Deviation& deviation : Deviations::all().table) {
    if (deviation.scenario != recording.scenario) continue;
    Lines& own = lines[deviation.actor];
    const std::ptrdiff_t end =
        replace(own, done[deviation.actor], deviation.recorded, deviation.ours);
    if (end < 0) {
      throw std::runtime_error(recording.scenario + ": the recording has no such lines of " +
                               deviation.actor + ": " + Json(deviation.recorded).dump());
    }
    done[deviation.actor] = end;
    if (own.empty()) lines.erase(deviation.actor);
  }
  return lines;
}

}  // namespace warren::conformance
