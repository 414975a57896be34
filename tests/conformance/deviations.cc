#include "conformance/deviations.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace warren::conformance {
namespace {

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
    if (actor == "everywhere") {
      current_ = &result_.everywhere;
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
    for (const Deviation& deviation : table) {
      if (deviation.reasons.count(reason.key) == 0) continue;
      if (names.empty() || names.back() != deviation.scenario) names.push_back(deviation.scenario);
    }
    text += "| " + reason.key + " | " + reason.sentence + " | " + quoted(names) + " |\n";
  }
  return text;
}

std::map<std::string, Lines> expected(const Recording& recording) {
  std::map<std::string, Lines> lines = recording.trace.byActor(recording.folding);
  for (auto& [who, own] : lines) {
    for (const Deviation& rule : Deviations::all().everywhere) {
      std::replace(own.begin(), own.end(), rule.recorded.at(0), rule.ours.at(0));
    }
  }

  std::map<std::string, std::ptrdiff_t> done;  // where the deviation before left off
  for (const Deviation& deviation : Deviations::all().table) {
    if (deviation.scenario != recording.scenario) continue;
    Lines& own = lines[deviation.actor];
    const Lines& wanted = deviation.recorded;
    const auto from = own.begin() + done[deviation.actor];
    const auto place = std::search(from, own.end(), wanted.begin(), wanted.end());
    if (place == own.end() && !wanted.empty()) {
      throw std::runtime_error(recording.scenario + ": the recording has no such lines of " +
                               deviation.actor + ": " + Json(wanted).dump());
    }
    const auto after = own.erase(place, place + static_cast<std::ptrdiff_t>(wanted.size()));
    const auto at = own.insert(after, deviation.ours.begin(), deviation.ours.end());
    done[deviation.actor] = at - own.begin() + static_cast<std::ptrdiff_t>(deviation.ours.size());
    if (own.empty()) lines.erase(deviation.actor);
  }
  return lines;
}

}  // namespace warren::conformance
