// SPDX-License-Identifier: Apache-2.0
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.opensearch.analysis.common.CommonAnalysisPlugin;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.index.mapper.MapperExtrasPlugin;
import org.opensearch.index.reindex.ReindexPlugin;
import org.opensearch.ingest.common.IngestCommonPlugin;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.painless.PainlessPlugin;
import org.opensearch.plugins.Plugin;
import org.opensearch.transport.Netty4Plugin;

/** Runs one OpenSearch node from plain jars: OsMain HOME (settings: HOME/config/opensearch.yml). */
public class OsMain extends Node {
    private static final List<Class<? extends Plugin>> MODULES = List.of(
        Netty4Plugin.class, CommonAnalysisPlugin.class, IngestCommonPlugin.class,
        MapperExtrasPlugin.class, ReindexPlugin.class, PainlessPlugin.class);

    private OsMain(Environment environment) {
        super(environment, MODULES, false);
    }

    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]).toAbsolutePath();
        Path config = home.resolve("config");
        System.setProperty("opensearch.path.home", home.toString());
        Settings settings = Settings.builder()
            .loadFromPath(config.resolve("opensearch.yml"))
            .put("path.home", home.toString())
            .build();
        OsMain node = new OsMain(
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), config, () -> "n1"));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
        node.start();
        new CountDownLatch(1).await();
    }

    private static void close(Node node) {
        try {
            node.close();
        } catch (Exception e) {
            e.printStackTrace();
        }
    }
}
